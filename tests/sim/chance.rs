//! Chance and time of the operating system, in a place where nothing may happen by chance: the
//! engine walks its streams in the order of hash maps, which begin with what `getrandom` gives, and
//! rounds times of reports that begin with the clock. Both are answered here instead, the same in
//! every run, so that a scene that fails fails again, to the byte.

#![allow(unsafe_code, reason = "symbols of the C library, in a test")]

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use crate::world::{Weather, World};

/// Any moment: seconds since the system started, or since 1970.
const MOMENT: i64 = 1_000_000_000;

thread_local! {
    static DRAWN: Cell<u64> = const { Cell::new(0) };
    static STOPPED: Cell<bool> = const { Cell::new(false) };
}

/// Stops this thread's clock, and seeds the generator that the engine draws from.
pub fn begin(seed: u64) {
    STOPPED.set(true);
    fastrand::seed(seed);
}

/// A number that depends on nothing but how many were drawn in this thread (splitmix64).
fn draw() -> u64 {
    let drawn = DRAWN.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    DRAWN.set(drawn);
    let mixed = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 27)
}

/// See getrandom(2).
///
/// # Safety
/// `buffer` has room for `length` bytes.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    for at in 0..length {
        // SAFETY: `at` is below `length`.
        unsafe { buffer.cast::<u8>().add(at).write(draw() as u8) };
    }
    length.cast_signed()
}

/// See clock_gettime(2).
///
/// # Safety
/// `time` may be written.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    if STOPPED.get() {
        // SAFETY: the caller vouches for it.
        unsafe { *time = libc::timespec { tv_sec: MOMENT, tv_nsec: 0 } };
        return 0;
    }
    // SAFETY: the same arguments for the same call.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int }
}

/// What was sent when, in a call with everything that draws.
fn call(seed: u64) -> u64 {
    let mut world = World::new(seed, 4);
    world.simulcast = true;
    let viewer = world.join_whole("r", "viewer");
    let ada = world.join_whole("r", "ada");
    world.on_air(ada);
    // Signatures in a handshake differ in size, and nothing else does.
    world.digest = DefaultHasher::new();
    world.weather = Weather { delay: 20, jitter: 5, loss: 5, twice: 1 };
    world.narrow(viewer, 700_000, Duration::from_millis(200));
    world.run(8_000);
    world.digest.finish()
}

#[test]
fn a_scene_is_the_same_to_the_byte_each_time() {
    // Each in a thread of its own, as tests are: what was drawn before counts.
    let run = |seed| std::thread::spawn(move || call(seed)).join().unwrap();
    let first = run(1);
    assert_eq!(run(1), first);
    let wished = std::env::var_os("FANLIGHT_SEED").is_some();
    assert_eq!(run(2) == first, wished, "all scenes have the seed that is wished for");
}
