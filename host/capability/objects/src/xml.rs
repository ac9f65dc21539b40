//! Answers of the S3 API in XML, read element by element: listings hold a thousand records, and no tree is built of them.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// What comes by in a document.
pub(crate) enum Seen<'a> {
    /// The text of a record's field; `record` is empty for a field of the document itself.
    Text { record: &'a str, name: &'a str, text: String },
    /// A record has ended.
    End { record: &'a str },
}

/// Walks through the children of the element at `path`, which begins with the root's name. An error says why the
/// document can't be read: it breaks off, or is another one.
pub(crate) fn walk(document: &str, path: &[&str], mut see: impl FnMut(Seen<'_>)) -> Result<(), String> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().expand_empty_elements = true;
    let base = path.len();
    let (mut depth, mut fields) = (0, false);
    let (mut record, mut name, mut text) = (String::new(), String::new(), String::new());
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(start) => {
                depth += 1;
                let found = utf8(start.local_name().as_ref());
                if depth <= base && path[depth - 1] != found {
                    return Err(format!("it has <{found}> where <{}> was to come", path[depth - 1]));
                }
                text.clear();
                if depth == base + 1 {
                    (record, fields) = (found, false);
                } else if depth == base + 2 {
                    (name, fields) = (found, true);
                }
            }
            Event::End(_) => {
                if depth == base + 2 {
                    see(Seen::Text { record: &record, name: &name, text: std::mem::take(&mut text) });
                } else if depth == base + 1 && fields {
                    see(Seen::End { record: &record });
                } else if depth == base + 1 {
                    see(Seen::Text { record: "", name: &record, text: std::mem::take(&mut text) });
                }
                depth -= 1;
            }
            Event::Text(piece) => text.push_str(&piece.decode().map_err(|e| e.to_string())?),
            Event::CData(piece) => text.push_str(&piece.decode().map_err(|e| e.to_string())?),
            Event::GeneralRef(entity) => match entity.resolve_char_ref().map_err(|e| e.to_string())? {
                Some(character) => text.push(character),
                None => {
                    let entity = entity.decode().map_err(|e| e.to_string())?;
                    let known = resolve_predefined_entity(&entity);
                    text.push_str(known.ok_or_else(|| format!("the entity &{entity}; is not known"))?);
                }
            },
            Event::Eof if depth == 0 => return Ok(()),
            Event::Eof => return Err("it breaks off".to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(document: &str, path: &[&str]) -> Result<Vec<String>, String> {
        let mut seen = Vec::new();
        walk(document, path, |what| {
            seen.push(match what {
                Seen::Text { record, name, text } => format!("{record}.{name}={text}"),
                Seen::End { record } => format!("/{record}"),
            });
        })?;
        Ok(seen)
    }

    #[test]
    fn records_and_fields_come_in_order() {
        let document = "<?xml version=\"1.0\"?>\n<R xmlns=\"http://s3.example.com/\"><A>1 &amp; 2</A> <C><K>a&#x20;b</K>\
                        <E>&quot;x&quot;</E><O><I>deep</I></O><N/></C><D></D></R>";
        let seen = all(document, &["R"]).unwrap();
        assert_eq!(seen, [".A=1 & 2", "C.K=a b", "C.E=\"x\"", "C.O=deep", "C.N=", "/C", ".D="]);
        assert_eq!(all("<T><S><G><K>k</K></G></S></T>", &["T", "S"]).unwrap(), ["G.K=k", "/G"]);
        assert!(all("<Error><Code>x</Code></Error>", &["R"]).is_err());
        assert!(all("<R><A>1</A>", &["R"]).is_err());
    }
}
