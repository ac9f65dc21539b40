//! Between JSON and the values of CEL.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map};
use godwit_model::Json;

/// JSON as CEL sees it. Integers become `int`, also positive ones, so that `n + 1` works.
pub(crate) fn to_cel(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => {
            if let Some(int) = number.as_i64() {
                Value::Int(int)
            } else if let Some(uint) = number.as_u64() {
                Value::UInt(uint)
            } else {
                Value::Float(number.as_f64().unwrap_or(f64::NAN))
            }
        }
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Json::Object(members) => Value::Map(Map {
            map: Arc::new(
                members
                    .iter()
                    .map(|(key, value)| (Key::String(Arc::new(key.clone())), to_cel(value)))
                    .collect::<HashMap<_, _>>(),
            ),
        }),
    }
}

/// A CEL value as JSON; members come sorted by key. The error names what JSON can't hold.
pub(crate) fn from_cel(value: &Value) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::UInt(value) => Json::from(*value),
        Value::Float(value) => match serde_json::Number::from_f64(*value) {
            Some(number) => Json::Number(number),
            None => return Err(format!("{value} is no number that JSON can hold")),
        },
        Value::String(text) => Json::String(text.as_str().to_owned()),
        Value::List(items) => Json::Array(items.iter().map(from_cel).collect::<Result<_, _>>()?),
        Value::Map(map) => {
            let mut members = Vec::with_capacity(map.map.len());
            for (key, value) in map.map.iter() {
                let Key::String(key) = key else {
                    return Err("the keys of an object must be strings".to_owned());
                };
                members.push((key.as_str().to_owned(), from_cel(value)?));
            }
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(members.into_iter().collect())
        }
        other => {
            return Err(format!(
                "a value of type {} can't stand in JSON; turn it into a text with `string(…)`",
                other.type_of()
            ));
        }
    })
}

/// What a value looks like inside a longer text. Lists, objects and null have no such form.
pub(crate) fn to_text(json: &Json) -> Result<String, String> {
    match json {
        Json::String(text) => Ok(text.clone()),
        Json::Bool(_) | Json::Number(_) => Ok(json.to_string()),
        Json::Null => Err("null can't be put into a text".to_owned()),
        Json::Array(_) => Err("a list can't be put into a text; join it with `.join(\",\")`".to_owned()),
        Json::Object(_) => Err("an object can't be put into a text; name one of its fields".to_owned()),
    }
}
