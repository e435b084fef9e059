//! JSON from outside, read strictly: no doubled keys, no deep nesting, and every fault named by the
//! place where it is.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Deepest nesting; the protocol's own messages need five.
const DEPTH: usize = 16;

/// A client's message before its data is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// What it is.
    pub kind: String,
    /// The id under which its answer is wanted.
    pub id: Option<u64>,
    /// What it says, not looked at yet.
    pub data: Value,
}

/// Why a text is no envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// No JSON at all.
    Broken,
    /// JSON that says what it must not; the text names the place.
    Bad {
        /// The message's id, if it could be read.
        id: Option<u64>,
        /// What is wrong, and where.
        message: String,
    },
}

impl Envelope {
    /// Reads one text frame.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, EnvelopeError> {
        let path = RefCell::new(Vec::new());
        let mut json = serde_json::Deserializer::from_str(text);
        let value = Strict { path: &path, depth: 0 }.deserialize(&mut json).map_err(|error| {
            if error.is_data() {
                let message = format!("{}: {}", place(&path.borrow()), plain(&error));
                EnvelopeError::Bad { id: None, message }
            } else {
                EnvelopeError::Broken
            }
        })?;
        json.end().map_err(|_| EnvelopeError::Broken)?;
        let bad = |id, message: &str| EnvelopeError::Bad { id, message: message.to_owned() };
        let Value::Object(mut object) = value else {
            return Err(bad(None, "A message is an object."));
        };
        let id = match object.remove("id") {
            None => None,
            Some(id) => Some(id.as_u64().ok_or_else(|| bad(None, "id: must be a whole number."))?),
        };
        let Some(Value::String(kind)) = object.remove("type") else {
            return Err(bad(id, "type: must be a text."));
        };
        let data = object.remove("data").unwrap_or_else(|| Value::Object(Map::new()));
        if !data.is_object() {
            return Err(bad(id, "data: must be an object."));
        }
        Ok(Self { kind, id, data })
    }

    /// The data as a typed value.
    ///
    /// # Errors
    /// A sentence that names the place and what is wrong there.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_path_to_error::deserialize(&self.data).map_err(|error| {
            let at = error.path().to_string();
            let at = if at == "." { "data".to_owned() } else { format!("data.{at}") };
            format!("{at}: {}", error.inner())
        })
    }
}

/// What serde says, without its line and column.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn place(path: &[String]) -> String {
    if path.is_empty() { "The message".to_owned() } else { path.join(".") }
}

/// Builds a [`Value`] and refuses what a lax reader would let pass.
#[derive(Clone, Copy)]
struct Strict<'a> {
    path: &'a RefCell<Vec<String>>,
    depth: usize,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH {
            return Err(E::custom(format!("nested deeper than {DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        loop {
            self.path.borrow_mut().push(list.len().to_string());
            let Some(item) = items.next_element_seed(inner)? else { break };
            self.path.borrow_mut().pop();
            list.push(item);
        }
        self.path.borrow_mut().pop();
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.path.borrow_mut().push(key.clone());
            if object.contains_key(&key) {
                return Err(A::Error::custom("stands twice"));
            }
            let value = entries.next_value_seed(inner)?;
            object.insert(key, value);
            self.path.borrow_mut().pop();
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn bad(text: &str) -> String {
        match Envelope::read(text) {
            Err(EnvelopeError::Bad { message, .. }) => message,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_envelope_has_a_type_perhaps_an_id_and_data() {
        let read = Envelope::read(r#"{"type":"ping","id":7,"data":{"ts":1},"more":true}"#).unwrap();
        assert_eq!((read.kind.as_str(), read.id), ("ping", Some(7)));
        assert_eq!(Envelope::read(r#"{"type":"ping"}"#).unwrap().data, serde_json::json!({}));
    }

    #[test]
    fn a_fault_is_named_by_its_place() {
        assert_eq!(bad(r#"{"type":"x","data":{"a":1,"a":2}}"#), "data.a: stands twice");
        assert_eq!(
            bad(r#"{"type":"x","data":{"l":[{"k":1},{"k":1,"k":2}]}}"#),
            "data.l.1.k: stands twice"
        );
        assert!(bad(r#"{"type":7}"#).starts_with("type:"));
        assert!(bad(r#"{"type":"x","id":"7"}"#).starts_with("id:"));
        assert!(bad(r#"{"type":"x","id":-1}"#).starts_with("id:"));
        assert!(bad(r#"{"type":"x","data":[]}"#).starts_with("data:"));
        assert_eq!(bad("[]"), "A message is an object.");
        let deep = |n: usize| {
            format!(r#"{{"type":"x","data":{}{}}}"#, r#"{"a":"#.repeat(n) + "1", "}".repeat(n))
        };
        assert!(Envelope::read(&deep(15)).is_ok());
        assert!(bad(&deep(16)).contains("deeper than 16"));
    }

    #[test]
    fn what_is_no_json_is_broken() {
        for text in ["", "{", "nonsense", r#"{"type":"x"} more"#] {
            assert_eq!(Envelope::read(text), Err(EnvelopeError::Broken), "{text:?}");
        }
        let endless = "[".repeat(100_000);
        assert!(Envelope::read(&endless).is_err());
    }

    #[test]
    fn a_wrong_field_is_named_too() {
        #[derive(Debug, Deserialize)]
        struct Ping {
            #[expect(dead_code, reason = "only its reading is tested")]
            ts: u64,
        }
        let read = Envelope::read(r#"{"type":"ping","data":{"ts":"now"}}"#).unwrap();
        assert!(read.data::<Ping>().unwrap_err().starts_with("data.ts: "));
        let read = Envelope::read(r#"{"type":"ping"}"#).unwrap();
        assert!(read.data::<Ping>().unwrap_err().contains("ts"));
    }
}
