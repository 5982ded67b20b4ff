//! Fills in a command for one file: arguments and environment.
//!
//! The values come from servers and lists. A value stays in its argument and cannot be an option.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use data_encoding::HEXLOWER;

use super::order::CommandOrder;
use super::words::{Field, Piece, Template};

/// Returns the arguments of `template` for the file of `order` in the folder `output`.
pub(super) fn arguments(template: &Template, output: &Path, order: &CommandOrder) -> Vec<OsString> {
    let fill = |pieces: &Vec<Piece>| {
        let mut argument = OsString::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => argument.push(text),
                Piece::Field(field) => {
                    let value = value(*field, output, order);
                    // A value that starts like an option would become one.
                    if argument.is_empty() && value.as_encoded_bytes().starts_with(b"-") {
                        argument.push("./");
                    }
                    argument.push(value);
                }
            }
        }
        argument
    };
    template.arguments.iter().map(fill).collect()
}

/// Returns the environment variables for the command.
pub(super) fn environment(output: &Path, order: &CommandOrder) -> Vec<(&'static str, OsString)> {
    let content_type = order.content_type.clone().unwrap_or_default();
    vec![
        ("COORDINATOR_PATH", value(Field::Path, output, order)),
        ("COORDINATOR_URL", value(Field::Url, output, order)),
        ("COORDINATOR_SHA256", value(Field::Sha256, output, order)),
        ("COORDINATOR_BYTES", order.bytes.to_string().into()),
        ("COORDINATOR_CONTENT_TYPE", content_type.into()),
    ]
}

fn value(field: Field, output: &Path, order: &CommandOrder) -> OsString {
    let path = output.join(&order.path);
    let part = |part: Option<&OsStr>| part.unwrap_or_default().to_owned();
    match field {
        Field::Dir => part(path.parent().map(Path::as_os_str)),
        Field::Name => part(path.file_name()),
        Field::Stem => part(path.file_stem()),
        Field::Path => path.into_os_string(),
        Field::Url => order.url.clone().into(),
        Field::Sha256 => HEXLOWER.encode(&order.sha256).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(path: &str) -> CommandOrder {
        CommandOrder {
            path: path.to_owned(),
            url: "https://h/a?b=%20'\"$(x)".to_owned(),
            bytes: 7,
            sha256: [0xAB; 32],
            content_type: Some("text/plain; charset=\"utf-8\"".to_owned()),
        }
    }

    fn filled(word: &str, path: &str) -> String {
        let template = Template::parse(&["p".to_owned(), word.to_owned()]).expect("a command");
        let mut arguments = arguments(&template, Path::new("/out put"), &order(path));
        assert_eq!(arguments.len(), 1);
        arguments.remove(0).into_string().expect("text")
    }

    #[test]
    fn each_place_is_filled_within_its_argument() {
        for (word, expected) in [
            ("{path}", "/out put/a b/c'\n\".tar.gz"),
            ("{}", "/out put/a b/c'\n\".tar.gz"),
            ("{dir}", "/out put/a b"),
            ("{name}", "c'\n\".tar.gz"),
            ("{dir}/{stem}.x", "/out put/a b/c'\n\".tar.x"),
            ("--url={url}", "--url=https://h/a?b=%20'\"$(x)"),
            ("{sha256}", &"ab".repeat(32)),
        ] {
            assert_eq!(filled(word, "a b/c'\n\".tar.gz"), expected, "{word}");
        }
    }

    #[test]
    fn a_name_cannot_be_an_option() {
        assert_eq!(filled("{name}", "--help"), "./--help");
        assert_eq!(filled("{stem}{name}", "-x.y"), "./-x-x.y");
        assert_eq!(filled("a{name}", "-x"), "a-x");
        assert_eq!(filled("--{name}", "-x"), "---x");
    }
}
