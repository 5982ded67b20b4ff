//! Writes a target as a line of JSONL, from which another machine reads the same target.

use serde_json::{Map, Value};

use super::target::Target;

impl Target {
    /// Returns whether it has data for its servers only: user names, passwords, headers.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        let extra = self.extra.as_deref();
        extra.is_some_and(|extra| !extra.headers.is_empty())
            || self.request_url() != self.url
            || self
                .mirrors()
                .iter()
                .any(|mirror| mirror.request_url() != mirror.url)
    }

    /// Returns the line, without its line end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = Map::new();
        line.insert("url".to_owned(), self.request_url().into());
        if self.named {
            line.insert("out".to_owned(), self.path.clone().into());
        }
        if let Some(extra) = self.extra.as_deref() {
            for checksum in &extra.expect.checksums {
                line.insert(checksum.algorithm.key().to_owned(), checksum.hex().into());
            }
            if let Some(size) = extra.expect.size {
                line.insert("size".to_owned(), size.into());
            }
            if let Some(range) = extra.range {
                line.insert("range".to_owned(), range.to_string().into());
            }
            if !extra.headers.is_empty() {
                let headers = extra.headers.iter();
                let headers = headers.map(|(name, value)| (name.clone(), value.clone().into()));
                line.insert("headers".to_owned(), Value::Object(headers.collect()));
            }
            if !extra.mirrors.is_empty() {
                let urls = extra
                    .mirrors
                    .iter()
                    .map(|mirror| Value::from(mirror.request_url()));
                line.insert("urls".to_owned(), urls.collect());
            }
        }
        Value::Object(line).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use super::*;
    use crate::input::{Format, Lines, ListOptions};

    fn target(line: &str) -> Target {
        let options = ListOptions {
            format: Some(Format::Jsonl),
            ..ListOptions::default()
        };
        let reader = Box::new(Cursor::new(line.as_bytes().to_vec()));
        let mut lines = Lines::new("list", reader, Arc::new(options));
        lines.next().expect("a line").entry.expect("a target")
    }

    #[test]
    fn a_target_is_read_back_from_its_line() {
        for (line, secret) in [
            (r#"{"url":"http://h/a b?c#d"}"#, false),
            (r#"{"url":"http://h/a","out":"x/y.txt","size":3}"#, false),
            (r#"{"url":"http://u:p%40w@h/a","range":"0-9"}"#, true),
            (
                r#"{"url":"http://h/a","md5":"00000000000000000000000000000000",
                 "urls":["http://u@i/a","https://j:444/a"],"headers":{"A":"b"},"referer":"http://r/"}"#,
                true,
            ),
        ] {
            let line = line.replace('\n', " ");
            let first = target(&line);
            assert_eq!(target(&first.to_line()), first, "{line}");
            assert_eq!(first.has_secrets(), secret, "{line}");
        }
    }
}
