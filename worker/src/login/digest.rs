//! Digest access authentication (RFC 7616): challenges and their answers.
//!
//! MD5 and SHA-256, each also with `-sess`; `qop` `auth` or none. Any other challenge is ignored.

use std::fmt::Write as _;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use http_auth::ChallengeParser;
use md5::Md5;
use sha2::{Digest as _, Sha256};
use url::{Position, Url};

use super::Pair;

/// Longest challenge that is read, in bytes.
const MAX_CHALLENGE: usize = 4096;

/// Largest number of schemes that are named in a message.
const MOST_NAMED: usize = 4;

/// Digest algorithms, in order of preference, the best one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Md5,
    Sha256,
}

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    algorithm: Algorithm,
    /// The algorithm as the server wrote it, to be repeated.
    named: Option<String>,
    session: bool,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// Whether the answer has a `qop`, so that the server counts how often a nonce is used.
    counts: bool,
    userhash: bool,
    /// Whether only the nonce is old and the password may be right.
    pub(crate) stale: bool,
}

impl Challenge {
    /// Returns the best challenge of a response that can be answered.
    pub(crate) fn best(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<Self> = None;
        for text in texts(headers) {
            for challenge in ChallengeParser::new(text).map_while(Result::ok) {
                let found = Self::of(&challenge);
                if let Some(found) = found
                    && best
                        .as_ref()
                        .is_none_or(|best| best.algorithm < found.algorithm)
                {
                    best = Some(found);
                }
            }
        }
        best
    }

    fn of(challenge: &http_auth::ChallengeRef<'_>) -> Option<Self> {
        if !challenge.scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let value = |name: &str| {
            let mut params = challenge.params.iter();
            let (_, value) = params.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
            Some(value.to_unescaped())
        };
        let named = value("algorithm");
        let name = named.as_deref().unwrap_or("MD5").to_ascii_lowercase();
        let (base, session) = match name.strip_suffix("-sess") {
            Some(base) => (base, true),
            None => (name.as_str(), false),
        };
        let algorithm = match base {
            "md5" => Algorithm::Md5,
            "sha-256" => Algorithm::Sha256,
            _ => return None,
        };
        let qop = value("qop");
        let mut offered = qop.iter().flat_map(|qop| qop.split(','));
        let counts = offered.any(|one| one.trim().eq_ignore_ascii_case("auth"));
        if qop.is_some() && !counts {
            return None;
        }
        let is_true = |name| value(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let challenge = Self {
            algorithm,
            named,
            session,
            realm: value("realm")?,
            nonce: value("nonce")?,
            opaque: value("opaque"),
            counts,
            userhash: is_true("userhash"),
            stale: is_true("stale"),
        };
        challenge.is_harmless().then_some(challenge)
    }

    /// Returns whether the parts that an answer repeats fit into a header.
    fn is_harmless(&self) -> bool {
        let optional = [&self.opaque, &self.named].into_iter().flatten();
        let mut texts = optional.chain([&self.realm, &self.nonce]);
        texts.all(|text| !text.contains(char::is_control))
    }

    /// Returns `Authorization` for a GET of `url`, the `count`th with this nonce.
    pub(crate) fn answer(&self, pair: &Pair, url: &Url, count: u32) -> String {
        let mut random = [0; 18];
        // Without randomness the server alone chooses what is hashed, as before cnonce existed.
        let _ = getrandom::fill(&mut random);
        self.answer_with(pair, url, count, &BASE64URL_NOPAD.encode(&random))
    }

    fn answer_with(&self, pair: &Pair, url: &Url, count: u32, cnonce: &str) -> String {
        let target = &url[Position::BeforePath..Position::AfterQuery];
        let (realm, nonce) = (self.realm.as_bytes(), self.nonce.as_bytes());
        let count = format!("{count:08x}");
        let mut secret = self.hash(&[&pair.user, realm, &pair.password]);
        if self.session {
            secret = self.hash(&[secret.as_bytes(), nonce, cnonce.as_bytes()]);
        }
        let request = self.hash(&[b"GET", target.as_bytes()]);
        let (secret, request) = (secret.as_bytes(), request.as_bytes());
        let response = match self.counts {
            true => {
                let (count, cnonce) = (count.as_bytes(), cnonce.as_bytes());
                self.hash(&[secret, nonce, count, cnonce, b"auth", request])
            }
            false => self.hash(&[secret, nonce, request]),
        };
        let mut text = String::from("Digest ");
        let user = match self.userhash {
            true => self.hash(&[&pair.user, realm]),
            false => String::from_utf8_lossy(&pair.user).into_owned(),
        };
        quoted(&mut text, "username", &user);
        quoted(&mut text, "realm", &self.realm);
        quoted(&mut text, "nonce", &self.nonce);
        quoted(&mut text, "uri", target);
        if self.counts {
            // Both without quotes (RFC 7616 section 3.4).
            let _ = write!(text, "qop=auth, nc={count}, ");
        }
        if self.counts || self.session {
            quoted(&mut text, "cnonce", cnonce);
        }
        quoted(&mut text, "response", &response);
        if let Some(named) = &self.named {
            let _ = write!(text, "algorithm={named}, ");
        }
        if let Some(opaque) = &self.opaque {
            quoted(&mut text, "opaque", opaque);
        }
        if self.userhash {
            text.push_str("userhash=true, ");
        }
        text.truncate(text.len() - ", ".len());
        text
    }

    /// Returns the digest of `parts`, joined by colons, in hexadecimal.
    fn hash(&self, parts: &[&[u8]]) -> String {
        let text = parts.join(&b':');
        match self.algorithm {
            Algorithm::Md5 => HEXLOWER.encode(&Md5::digest(text)),
            Algorithm::Sha256 => HEXLOWER.encode(&Sha256::digest(text)),
        }
    }
}

fn quoted(text: &mut String, name: &str, value: &str) {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    let _ = write!(text, "{name}=\"{value}\", ");
}

fn texts(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.filter(|text| text.len() <= MAX_CHALLENGE)
}

/// Returns the authentication schemes that a response offers, as text; empty if it names none.
pub(crate) fn schemes(headers: &HeaderMap) -> String {
    let mut schemes: Vec<&str> = Vec::new();
    for text in texts(headers) {
        for challenge in ChallengeParser::new(text).map_while(Result::ok) {
            if schemes.len() < MOST_NAMED && !schemes.contains(&challenge.scheme) {
                schemes.push(challenge.scheme);
            }
        }
    }
    schemes.join(", ")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(challenges: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for challenge in challenges {
            let value = HeaderValue::from_str(challenge).expect("a header");
            headers.append(WWW_AUTHENTICATE, value);
        }
        headers
    }

    fn pair(user: &str, password: &str) -> Pair {
        Pair {
            user: user.as_bytes().to_owned(),
            password: password.as_bytes().to_owned(),
        }
    }

    /// The example of RFC 7616 section 3.9.1: both challenges, and both answers.
    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let offered = |algorithm: &str| {
            format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
                 algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            )
        };
        let (sha, md5) = (offered("SHA-256"), offered("MD5"));
        let url = Url::parse("http://www.example.org/dir/index.html").expect("a url");
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let answer = |challenges: &[&str]| {
            let challenge = Challenge::best(&headers(challenges)).expect("one");
            challenge.answer_with(&pair("Mufasa", "Circle of Life"), &url, 1, cnonce)
        };
        let with_sha = answer(&[&md5, &sha]);
        assert!(
            with_sha.contains(
                "response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""
            ),
            "the better one of two: {with_sha}"
        );
        let with_md5 = answer(&[&md5]);
        assert!(
            with_md5.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""),
            "{with_md5}"
        );
        for part in [
            "Digest username=\"Mufasa\", ",
            "uri=\"/dir/index.html\", ",
            "qop=auth, nc=00000001, ",
            "algorithm=MD5, opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
        ] {
            assert!(with_md5.contains(part), "{part}: {with_md5}");
        }
    }

    #[test]
    fn a_server_of_before_there_was_a_qop_is_answered_without() {
        // The example of RFC 2069 section 2.4, with the answer of its errata.
        let headers = headers(&[
            "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"",
        ]);
        let url = Url::parse("http://x.test/dir/index.html").expect("a url");
        let challenge = Challenge::best(&headers).expect("one");
        let answer = challenge.answer_with(&pair("Mufasa", "CircleOfLife"), &url, 1, "");
        assert!(answer.contains("response=\"1949323746fe6a43ef61f9606e7febea\""));
        assert!(
            !answer.contains("nc=") && !answer.contains("cnonce"),
            "{answer}"
        );
    }

    #[test]
    fn the_last_word_may_have_no_quotes() {
        let headers = headers(&["Digest realm=\"x\", nonce=\"abc\", qop=\"auth\", algorithm=MD5"]);
        assert_eq!(schemes(&headers), "Digest");
        assert!(Challenge::best(&headers).is_some());
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge_but_is_named() {
        for challenge in [
            "Basic realm=\"x\"",
            "Negotiate",
            "Digest realm=\"x\", nonce=\"n\", algorithm=SHA-512-256",
            "Digest realm=\"x\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"x\"",
            "Digest",
            "\"",
            "",
        ] {
            assert_eq!(Challenge::best(&headers(&[challenge])), None, "{challenge}");
        }
        let two = headers(&["Negotiate, Basic realm=\"x\"", "Basic realm=\"y\""]);
        assert_eq!(schemes(&two), "Negotiate, Basic");
        assert_eq!(schemes(&HeaderMap::new()), "");
    }

    proptest! {
        #[test]
        fn whatever_a_server_asks_the_answer_is_a_header(text in "[ -~]{0,120}", mixed in ".{0,40}") {
            let wrapped = format!("Digest realm=\"{mixed}\", nonce=\"{text}\", {text}");
            let url = Url::parse("http://x.test/a?b").expect("a url");
            for text in [text, wrapped] {
                let Ok(value) = HeaderValue::from_str(&text) else { continue };
                let mut headers = HeaderMap::new();
                headers.append(WWW_AUTHENTICATE, value);
                let _ = schemes(&headers);
                if let Some(challenge) = Challenge::best(&headers) {
                    let answer = challenge.answer(&pair("u\"", "p"), &url, 1);
                    prop_assert!(HeaderValue::from_str(&answer).is_ok(), "{answer}");
                }
            }
        }
    }
}
