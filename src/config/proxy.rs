//! Which proxies to use: from the options, or else from the environment, as curl reads it.
//!
//! Messages name the option or variable and never repeat its value, which may hold a password.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use protocol::{Exemption, Proxies, Proxy, ProxyScheme};
use url::Url;

/// The default port of a proxy, as in curl.
const DEFAULT_PORT: u16 = 1080;
const DEFAULT_TLS_PORT: u16 = 443;

/// Longest user name or password that SOCKS can carry (RFC 1929).
const MAX_LOGIN: usize = 255;

/// A proxy that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place} is not a proxy: {problem}; expected [http|https|socks5|socks5h]://[user:password@]host[:port]"
)]
pub struct ProxyError {
    /// The option or environment variable.
    place: String,
    /// What is wrong.
    problem: String,
}

/// The options and the environment.
pub(super) struct Given<'a> {
    /// `--proxy`. If it is empty, no proxy is used, whatever the environment contains.
    pub(super) proxy: Option<&'a str>,
    /// `--noproxy`.
    pub(super) noproxy: Option<&'a str>,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
}

/// Returns the proxies to use.
pub(super) fn proxies(given: &Given<'_>) -> Result<Proxies, ProxyError> {
    let (http, https) = match given.proxy {
        Some(text) => {
            let proxy = parse(text, "--proxy")?;
            (proxy.clone(), proxy)
        }
        None => {
            // HTTP_PROXY is ignored: a CGI server sets it from the `Proxy` header of a request.
            let all = ["all_proxy", "ALL_PROXY"];
            (
                given.first_set(&["http_proxy", all[0], all[1]])?,
                given.first_set(&["https_proxy", "HTTPS_PROXY", all[0], all[1]])?,
            )
        }
    };
    let exempt = match given.noproxy {
        Some(text) => exemptions(text),
        None => ["no_proxy", "NO_PROXY"]
            .iter()
            .find_map(|name| (given.environment)(name))
            .map(|text| exemptions(&text))
            .unwrap_or_default(),
    };
    Ok(Proxies {
        http,
        https,
        exempt,
    })
}

impl Given<'_> {
    /// Returns the proxy of the first of these variables that is set.
    fn first_set(&self, names: &[&str]) -> Result<Option<Proxy>, ProxyError> {
        for name in names {
            if let Some(text) = (self.environment)(name).filter(|text| !text.is_empty()) {
                return parse(&text, name);
            }
        }
        Ok(None)
    }
}

fn parse(text: &str, place: &str) -> Result<Option<Proxy>, ProxyError> {
    let refused = |problem: &str| ProxyError {
        place: place.to_owned(),
        problem: problem.to_owned(),
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => ProxyScheme::Http,
        "https" => ProxyScheme::Https,
        "socks5" => ProxyScheme::Socks5,
        "socks5h" => ProxyScheme::Socks5h,
        "socks4" | "socks4a" => return Err(refused("SOCKS 4 is not supported")),
        _ => return Err(refused("its scheme is not known")),
    };
    // A URL leaves out the default port of its own scheme, but keeps that of the other scheme.
    let plain = Url::parse(&format!("http://{rest}"));
    let tls = Url::parse(&format!("https://{rest}"));
    let (Ok(plain), Ok(tls)) = (plain, tls) else {
        return Err(refused("host or port is not valid"));
    };
    if !matches!(plain.path(), "" | "/") || plain.query().is_some() || plain.fragment().is_some() {
        return Err(refused("something follows host and port"));
    }
    let port = plain.port().or(tls.port()).unwrap_or(match scheme {
        ProxyScheme::Https => DEFAULT_TLS_PORT,
        ProxyScheme::Http | ProxyScheme::Socks5 | ProxyScheme::Socks5h => DEFAULT_PORT,
    });
    if port == 0 {
        return Err(refused("its port is 0"));
    }
    let host = plain.host_str().unwrap_or_default();
    let login = (!plain.username().is_empty() || plain.password().is_some())
        .then(|| {
            let decode = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
            let user = decode(plain.username()).ok()?;
            let password = decode(plain.password().unwrap_or_default()).ok()?;
            let short = user.len() <= MAX_LOGIN && password.len() <= MAX_LOGIN;
            let plain =
                !user.contains([':', '\r', '\n', '\0']) && !password.contains(['\r', '\n', '\0']);
            (short && plain).then_some((user, password))
        })
        .map(|login| login.ok_or_else(|| refused("user name or password cannot be sent")))
        .transpose()?;
    Ok(Some(Proxy {
        scheme,
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        credentials: login,
    }))
}

/// Parses hosts that need no proxy, separated by commas or spaces. A name includes all names below
/// it, with or without a leading dot. Addresses can be networks (`10.0.0.0/8`), and `*` is every
/// host. Anything else is ignored.
fn exemptions(text: &str) -> Vec<Exemption> {
    text.split([',', ' ', '\t'])
        .filter_map(|entry| {
            let entry = entry.trim().to_ascii_lowercase();
            if entry == "*" {
                return Some(Exemption::All);
            }
            if let Some(network) = network(&entry) {
                return Some(network);
            }
            let (name, port) = match entry.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') => (name, Some(port.parse().ok()?)),
                Some(_) | None => (entry.as_str(), None),
            };
            let name = name.trim_start_matches("*.").trim_matches('.');
            (!name.is_empty()).then(|| Exemption::Domain(name.to_owned(), port))
        })
        .collect()
}

fn network(entry: &str) -> Option<Exemption> {
    let (addr, bits) = match entry.split_once('/') {
        Some((addr, bits)) => (addr, Some(bits.parse().ok()?)),
        None => (entry, None),
    };
    let addr: IpAddr = addr.trim_matches(['[', ']']).parse().ok()?;
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some(Exemption::Network(addr, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(
        proxy: Option<&str>,
        noproxy: Option<&str>,
        environment: &[(&str, &str)],
    ) -> Result<Proxies, ProxyError> {
        let find = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        proxies(&Given {
            proxy,
            noproxy,
            environment: &find,
        })
    }

    fn port(proxy: Option<&Proxy>) -> u16 {
        proxy.map_or(0, |proxy| proxy.port)
    }

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        let check = |environment: &[(&str, &str)], http, https| {
            let found = given(None, None, environment).expect("good proxies");
            let ports = (port(found.http.as_ref()), port(found.https.as_ref()));
            assert_eq!(ports, (http, https), "{environment:?}");
        };
        check(&[], 0, 0);
        check(&[("http_proxy", "http://p:1")], 1, 0);
        check(&[("HTTP_PROXY", "http://p:1")], 0, 0);
        check(&[("HTTPS_PROXY", "p:2")], 0, 2);
        check(&[("https_proxy", "p:1"), ("HTTPS_PROXY", "p:2")], 0, 1);
        check(&[("ALL_PROXY", "p:3"), ("http_proxy", "p:1")], 1, 3);
        check(&[("all_proxy", ""), ("ALL_PROXY", "p:3")], 3, 3);
        let environment = [("all_proxy", "p:3"), ("no_proxy", "a")];
        let none = given(Some(""), None, &environment).expect("none");
        assert_eq!((none.http, none.https), (None, None));
        let all = given(None, Some("*"), &environment).expect("good proxies");
        assert_eq!(all.exempt, [Exemption::All]);
    }

    #[test]
    fn a_proxy_is_scheme_login_host_and_port() {
        let check = |text: &str, scheme, host: &str, port, login: Option<(&str, &str)>| {
            let found = parse(text, "x").expect(text).expect("one");
            let credentials = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
            let expect = Proxy {
                scheme,
                host: host.to_owned(),
                port,
                credentials,
            };
            assert!(found == expect, "{text}: {found:?}");
        };
        check("p", ProxyScheme::Http, "p", 1080, None);
        check("http://P.test:80/", ProxyScheme::Http, "p.test", 80, None);
        check("HTTPS://p", ProxyScheme::Https, "p", 443, None);
        check("http://p:443", ProxyScheme::Http, "p", 443, None);
        check("socks5://[::1]:9", ProxyScheme::Socks5, "::1", 9, None);
        let login = Some(("m:e".replace(':', ""), "p@w"));
        let login = login
            .as_ref()
            .map(|(user, password)| (user.as_str(), *password));
        check(
            "socks5h://me:p%40w@p",
            ProxyScheme::Socks5h,
            "p",
            1080,
            login,
        );
        check("http://me@p:1", ProxyScheme::Http, "p", 1, Some(("me", "")));
    }

    #[test]
    fn a_malformed_proxy_is_named_without_what_it_says() {
        for text in [
            "ftp://secret@p",
            "socks4://secret@p",
            "http://secret@p:99999",
            "http://secret@",
            "http://secret@p/path",
            "http://secret@p:0",
            "http://a%3Asecret:x@p",
            "http://secret%00@p",
        ] {
            let error = given(Some(text), None, &[]).expect_err(text).to_string();
            assert!(error.starts_with("--proxy is not a proxy: "), "{error}");
            assert!(!error.contains("secret"), "{error}");
            let error = given(None, None, &[("http_proxy", text)]).expect_err(text);
            assert!(error.to_string().starts_with("http_proxy is not a proxy"));
        }
    }

    #[test]
    fn exemptions_are_names_networks_or_all() {
        let domain = |name: &str, port| Exemption::Domain(name.to_owned(), port);
        let network = |text: &str, bits| Exemption::Network(text.parse().expect("valid"), bits);
        let found = exemptions("A.test,.b.test  *.c.test,10.0.0.0/8,::1,[::1],d:80,,1.1.1.1/99,*");
        assert_eq!(
            found,
            [
                domain("a.test", None),
                domain("b.test", None),
                domain("c.test", None),
                network("10.0.0.0", 8),
                network("::1", 128),
                network("::1", 128),
                domain("d", Some(80)),
                domain("1.1.1.1/99", None),
                Exemption::All,
            ]
        );
    }
}
