//! Stream entries in JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::resp::value::RespValue;

/// Names and values of an entry: as a map, or as pairs `[name, value]` in their order, in which a name may come again.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Fields {
    Map(BTreeMap<String, String>),
    Pairs(Vec<[String; 2]>),
}

impl Fields {
    /// Names and values in turn.
    pub fn into_words(self) -> Vec<Vec<u8>> {
        let words = |[name, value]: [String; 2]| [name.into_bytes(), value.into_bytes()];
        match self {
            Self::Map(map) => map.into_iter().map(<[String; 2]>::from).flat_map(words).collect(),
            Self::Pairs(pairs) => pairs.into_iter().flat_map(words).collect(),
        }
    }

    fn new(pairs: Vec<[String; 2]>, as_pairs: bool) -> Self {
        if as_pairs { Self::Pairs(pairs) } else { Self::Map(pairs.into_iter().map(Into::into).collect()) }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Entries {
    pub entries: Vec<StreamEntry>,
}

#[derive(Serialize, ToSchema)]
pub struct StreamEntry {
    id: String,
    /// Absent where the entry is pending but deleted, or is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields>,
    /// Names and values in turn, in base64; only where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields_base64: Option<Vec<String>>,
}

/// `[[key, [entry, ...]]]`, or null where there is nothing.
pub fn entries_of_one_stream(reply: RespValue, as_pairs: bool) -> Entries {
    let stream = reply.into_array().into_iter().next().map(RespValue::into_array).unwrap_or_default();
    let entries = stream.into_iter().nth(1).unwrap_or(RespValue::Null);
    Entries { entries: entries_of(entries, as_pairs) }
}

/// `[entry, ...]`.
pub fn entries_of(reply: RespValue, as_pairs: bool) -> Vec<StreamEntry> {
    reply.into_array().into_iter().map(|entry| entry_of(entry, as_pairs)).collect()
}

/// `[id, [name, value, ...]]`, or `[id, null]` where the entry was deleted.
fn entry_of(reply: RespValue, as_pairs: bool) -> StreamEntry {
    let mut parts = reply.into_array().into_iter();
    let mut entry = StreamEntry { id: text(parts.next()), fields: None, fields_base64: None };
    let Some(RespValue::Array(words)) = parts.next() else {
        return entry;
    };
    let words: Vec<Vec<u8>> = words.into_iter().map(RespValue::into_bytes).collect();
    let (pairs, _) = words.as_chunks::<2>();
    let utf8 = |word: &Vec<u8>| String::from_utf8(word.clone()).ok();
    match pairs.iter().map(|[name, value]| Some([utf8(name)?, utf8(value)?])).collect::<Option<Vec<_>>>() {
        Some(pairs) => entry.fields = Some(Fields::new(pairs, as_pairs)),
        None => entry.fields_base64 = Some(words.iter().map(|word| STANDARD.encode(word)).collect()),
    }
    entry
}

/// A string of a reply, such as an id.
pub fn text(reply: Option<RespValue>) -> String {
    let bytes = reply.map(RespValue::into_bytes).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
