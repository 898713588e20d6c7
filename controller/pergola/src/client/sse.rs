//! Server-sent events: the stream format of the WHATWG HTML standard, section 9.2.

use std::io::{self, BufRead};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: String,
    pub data: String,
    /// The id last seen on the stream, of this event or of one before it.
    pub id: Option<String>,
}

/// The events of a stream, until it ends. An event the stream breaks off in is not given.
pub struct Events<R> {
    input: R,
    id: Option<String>,
}

impl<R: BufRead> Events<R> {
    pub fn new(input: R) -> Self {
        Events { input, id: None }
    }
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = io::Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut kind, mut data) = (String::new(), None::<String>);
        let mut line = String::new();
        loop {
            line.clear();
            match self.input.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
            let text = line.trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                if let Some(data) = data.take() {
                    return Some(Ok(Event { kind, data, id: self.id.clone() }));
                }
                kind.clear();
                continue;
            }
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut kind),
                "id" => self.id = Some(value.to_owned()),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                // Comments keep the connection alive; other fields are not for us.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<(String, String, Option<String>)> {
        let all = Events::new(text.as_bytes()).map(|e| e.unwrap());
        all.map(|e| (e.kind, e.data, e.id)).collect()
    }

    fn event(kind: &str, data: &str, id: Option<&str>) -> (String, String, Option<String>) {
        (kind.into(), data.into(), id.map(Into::into))
    }

    #[test]
    fn events_comments_and_a_broken_end() {
        let text = ":hello\n\nevent: put\nid: 7\ndata: {\"a\":1}\n\n:\n\nevent:delete\r\ndata:x\r\n\
                    data:y\r\n\r\nevent: put\ndata: half";
        assert_eq!(events(text), [event("put", "{\"a\":1}", Some("7")), event("delete", "x\ny", Some("7"))]);
    }

    #[test]
    fn an_event_without_data_is_none() {
        assert_eq!(events("event: put\n\ndata: 1\n\n"), [event("", "1", None)]);
    }
}
