//! The dependency descriptor as the engine carries it: bytes, in and out.

use std::sync::Arc;

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

use crate::wire::descriptor::{URI, write_frame_number};

/// Longest descriptor that is carried. The longest of a browser, that of a keyframe of three spatial
/// layers of three temporal ones, has 97 bytes.
const MAX_BYTES: usize = 160;

/// What the short form of header extensions holds.
const SHORT: usize = 16;

/// A descriptor's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw(pub Arc<[u8]>);

/// The extension, to be negotiated.
pub(super) fn extension() -> Extension {
    Extension::with_serializer(URI, Carried)
}

/// The descriptor of a packet that came.
pub(super) fn of(values: &ExtensionValues) -> Option<Arc<[u8]>> {
    values.user_values.get::<Raw>().map(|raw| raw.0.clone())
}

/// Puts a descriptor beside a packet that goes, with its own frame number.
pub(super) fn put(values: &mut ExtensionValues, bytes: &[u8], frame: u16) {
    let mut copy: Arc<[u8]> = Arc::from(bytes);
    if Arc::get_mut(&mut copy).and_then(|bytes| write_frame_number(bytes, frame)).is_some() {
        values.user_values.set(Raw(copy));
    }
}

#[derive(Debug)]
struct Carried;

impl ExtensionSerializer for Carried {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Raw(bytes)) = values.user_values.get::<Raw>() else { return 0 };
        let Some(place) = buf.get_mut(..bytes.len()) else { return 0 };
        place.copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        let sound = (3..=MAX_BYTES).contains(&buf.len());
        if sound {
            values.user_values.set(Raw(Arc::from(buf)));
        }
        sound
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<Raw>().is_some_and(|raw| raw.0.len() > SHORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_goes_on_with_another_number_and_in_the_form_that_holds_it() {
        let mut values = ExtensionValues::default();
        assert!(Carried.parse_value(&[0xc1, 0, 7, 9], &mut values));
        let bytes = of(&values).unwrap();
        assert!(!Carried.requires_two_byte_form(&values));
        put(&mut values, &bytes, 0x0203);
        let mut buffer = [0; 200];
        assert_eq!(Carried.write_to(&mut buffer, &values), 4);
        assert_eq!(buffer[..4], [0xc1, 2, 3, 9]);
        assert_eq!(Carried.write_to(&mut buffer[..3], &values), 0, "no place for it");
        put(&mut values, &[0; 17], 1);
        assert!(Carried.requires_two_byte_form(&values));
    }

    #[test]
    fn what_is_no_descriptor_is_not_carried() {
        let mut values = ExtensionValues::default();
        assert!(!Carried.parse_value(&[0xc1, 0], &mut values));
        assert!(!Carried.parse_value(&[0; MAX_BYTES + 1], &mut values));
        assert_eq!(of(&values), None);
        assert_eq!(Carried.write_to(&mut [0; 9], &values), 0);
    }
}
