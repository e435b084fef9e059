use super::*;

/// Of the three loudest and the dominant speaker.
const PLACES: usize = 4;

/// Voices of so many members, and the floor that they share.
struct Scene {
    voices: Vec<Voice>,
    floor: Floor,
    now: Instant,
}

fn who(member: usize) -> Who {
    Who { member, session: SessionId(member as u64) }
}

impl Scene {
    fn new(members: usize) -> Self {
        let mut scene = Self {
            voices: vec![Voice::default(); members],
            floor: Floor::new(3),
            now: crate::test_clock(),
        };
        scene.open(0..members);
        scene
    }

    fn open(&mut self, members: impl IntoIterator<Item = usize>) -> bool {
        let all: Vec<(Who, Voice)> =
            members.into_iter().map(|member| (who(member), self.voices[member])).collect();
        self.floor.open(&all, self.now)
    }

    /// These speak at these levels for some time, the others send noise; everybody's turn comes each
    /// 20 ms, and the home looks each 200 ms. How often others were heard than before.
    fn talk(&mut self, levels: &[(usize, i8)], ms: u64) -> usize {
        let mut changes = 0;
        for step in 1..=ms / 20 {
            self.now += Duration::from_millis(20);
            for member in 0..self.voices.len() {
                let level = levels.iter().find(|(speaker, _)| *speaker == member);
                self.voices[member].hear(level.map_or(-70, |(_, level)| *level), self.now);
                changes += usize::from(self.speak_up(member));
            }
            if step % 10 == 0 {
                let mut speaking = Vec::new();
                for (member, voice) in self.voices.iter_mut().enumerate() {
                    if voice.decide(self.now) {
                        speaking.push((who(member), *voice));
                    }
                }
                self.floor.dominate(&speaking, self.now);
            }
        }
        changes
    }

    fn speak_up(&mut self, member: usize) -> bool {
        let (voices, voice) = (&self.voices, self.voices[member]);
        let others = |other: Who| voices.get(other.member).copied();
        voice.is_loud() && self.floor.speak_up((who(member), voice), others, self.now)
    }

    fn heard(&self) -> Vec<u64> {
        let mut heard: Vec<u64> =
            self.floor.heard().unwrap().iter().map(|session| session.0).collect();
        heard.sort_unstable();
        heard
    }
}

#[test]
fn up_to_six_open_microphones_are_all_heard_and_of_seven_four() {
    let mut scene = Scene::new(7);
    scene.talk(&[(6, -20)], 500);
    assert_eq!(scene.heard().len(), PLACES);
    assert!(scene.open(0..6), "one closed");
    assert_eq!(scene.floor.heard(), None, "everybody");
    scene.talk(&[(5, -20)], 100);
    assert_eq!(scene.floor.heard(), None);
    assert!(scene.open(0..7));
    assert_eq!(scene.heard(), [0, 1, 5, 6], "who spoke last begins");
    assert!(!scene.open(0..7), "nothing new");
}

#[test]
fn a_voice_has_a_place_with_its_third_packet_and_keeps_it_until_somebody_needs_it() {
    let mut scene = Scene::new(9);
    assert_eq!(scene.heard(), [0, 1, 2, 3]);
    assert_eq!(scene.talk(&[(8, -20)], 60), 1);
    assert!(scene.heard().contains(&8));
    assert_eq!(scene.talk(&[], 60_000), 0, "silence moves nobody");
    assert!(scene.heard().contains(&8));
}

#[test]
fn who_was_silent_longest_gives_way_and_the_dominant_speaker_last() {
    let mut scene = Scene::new(9);
    for speaker in [3, 2, 1, 0] {
        scene.talk(&[(speaker, -20)], 2_000);
        scene.talk(&[], 1_000);
    }
    assert_eq!(scene.floor.dominant(), Some(SessionId(0)));
    scene.talk(&[(8, -30)], 100);
    assert_eq!(scene.heard(), [0, 1, 2, 8], "3 spoke before all others");
    for (speaker, expected) in [(7, [0, 1, 7, 8]), (6, [0, 6, 7, 8]), (5, [0, 5, 6, 7])] {
        scene.talk(&[], 1_000);
        // Too short to dominate.
        scene.talk(&[(speaker, -30)], 80);
        assert_eq!(scene.heard(), expected);
    }
}

#[test]
fn while_all_who_are_heard_speak_only_a_clearly_louder_one_takes_a_place_and_not_within_a_second() {
    let mut scene = Scene::new(8);
    let four = [(0, -20), (1, -30), (2, -29), (3, -28)];
    scene.talk(&four, 3_000);
    let with = |speaker: (usize, i8)| [&four[..], &[speaker]].concat();
    assert_eq!(scene.talk(&with((7, -26)), 3_000), 0, "not louder by 6 dB than anybody");
    scene.talk(&four, 1_000);
    assert_eq!(scene.talk(&with((7, -15)), 500), 1);
    assert_eq!(scene.heard(), [0, 2, 3, 7], "the quietest had to go");
    assert_eq!(scene.talk(&with((7, -15)), 3_000), 0, "and does not come back");
}

#[test]
fn however_many_shout_the_places_change_hands_once_a_second_at_most() {
    let mut scene = Scene::new(30);
    let all: Vec<(usize, i8)> = (0..30).map(|member| (member, -20)).collect();
    scene.talk(&all, 1_000);
    let mut changes = 0;
    for second in 0..20 {
        // Somebody else is loudest each time.
        let levels: Vec<(usize, i8)> = all
            .iter()
            .map(|(n, level)| (*n, if n % 5 == second % 5 { -5 } else { *level }))
            .collect();
        changes += scene.talk(&levels, 1_000);
    }
    assert!(changes <= 20 * PLACES, "{changes} in 20 s");
    assert_eq!(scene.heard().len(), PLACES);
}

#[test]
fn who_leaves_or_mutes_frees_its_place_for_the_next_voice() {
    let mut scene = Scene::new(9);
    let four = [(0, -20), (1, -20), (2, -20), (3, -20)];
    scene.talk(&four, 2_000);
    scene.voices[2].silence();
    assert!(scene.open([0, 1, 3, 4, 5, 6, 7, 8]));
    assert_eq!(scene.heard(), [0, 1, 3]);
    scene.talk(&[(0, -20), (1, -20), (3, -20), (6, -40)], 200);
    assert_eq!(scene.heard(), [0, 1, 3, 6]);
}

#[test]
fn the_dominant_speaker_does_not_change_with_every_word() {
    let mut scene = Scene::new(8);
    scene.talk(&[(0, -20)], 2_000);
    for _ in 0..10 {
        scene.talk(&[(0, -22), (1, -19)], 300);
        scene.talk(&[(0, -19), (1, -22)], 300);
        assert_eq!(scene.floor.dominant(), Some(SessionId(0)), "both are about as loud");
    }
    scene.talk(&[(0, -40), (1, -20)], 2_000);
    assert_eq!(scene.floor.dominant(), Some(SessionId(1)));
    scene.talk(&[], 5_000);
    assert_eq!(scene.floor.dominant(), Some(SessionId(1)), "who spoke last, in silence");
}

#[test]
fn how_many_are_heard_is_the_operators_choice() {
    let mut scene = Scene::new(12);
    scene.floor = Floor::new(0);
    assert!(!scene.open(0..12));
    assert_eq!(scene.floor.heard(), None, "everybody");
    scene.floor = Floor::new(1);
    scene.open(0..12);
    assert_eq!(scene.heard(), [0, 1]);
    scene.floor = Floor::new(9);
    assert!(!scene.open(0..10));
    assert!(scene.open(0..11));
    assert_eq!(scene.heard().len(), 10);
}
