//! The route of a request: directly to its host or through a proxy.
//!
//! Must not connect or read the environment: the options name the proxies.

use std::net::IpAddr;

use protocol::{Exemption, HttpOptions, Proxy, ProxyScheme};

/// Route to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// Connect to the host directly.
    Direct,
    /// Send the request to the proxy, with the whole URL in it (RFC 9112 section 3.2.2).
    Forward(&'p Proxy),
    /// Ask the proxy for a connection to the host, and send everything through it.
    Tunnel(&'p Proxy),
}

impl<'p> Route<'p> {
    /// Returns the route to `host`, as written in URLs, and `port`.
    pub(crate) fn of(options: &'p HttpOptions, https: bool, host: &str, port: u16) -> Self {
        if options.simulated.is_some() {
            return Self::Direct;
        }
        let proxies = &options.proxies;
        let proxy = if https { &proxies.https } else { &proxies.http };
        let Some(proxy) = proxy else {
            return Self::Direct;
        };
        if proxies.exempt.iter().any(|entry| covers(entry, host, port)) {
            return Self::Direct;
        }
        match proxy.scheme {
            ProxyScheme::Http | ProxyScheme::Https if !https => Self::Forward(proxy),
            ProxyScheme::Http | ProxyScheme::Https | ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                Self::Tunnel(proxy)
            }
        }
    }
}

/// Returns the host of a URL without the brackets around an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

fn covers(entry: &Exemption, host: &str, port: u16) -> bool {
    let host = bare(host);
    match entry {
        Exemption::All => true,
        Exemption::Domain(domain, at) => {
            // A final dot makes a name absolute; it is the same name.
            let host = host.strip_suffix('.').unwrap_or(host);
            let below = host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            below && at.is_none_or(|at| at == port)
        }
        Exemption::Network(network, bits) => match (network, host.parse()) {
            (IpAddr::V4(network), Ok(IpAddr::V4(addr))) => {
                same_prefix(network.to_bits().into(), addr.to_bits().into(), 32, *bits)
            }
            (IpAddr::V6(network), Ok(IpAddr::V6(addr))) => {
                same_prefix(network.to_bits(), addr.to_bits(), 128, *bits)
            }
            (IpAddr::V4(_) | IpAddr::V6(_), Ok(_) | Err(_)) => false,
        },
    }
}

/// Returns whether two numbers of `width` bits agree in their first `bits` bits.
fn same_prefix(a: u128, b: u128, width: u32, bits: u8) -> bool {
    let shift = width.saturating_sub(u32::from(bits));
    (a ^ b).checked_shr(shift).unwrap_or_default() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::options;

    #[test]
    fn hosts_that_are_exempt_are_reached_straight() {
        let check = |entry: Exemption, host: &str, expect: bool| {
            assert_eq!(covers(&entry, host, 80), expect, "{entry:?} {host}");
        };
        let domain = |name: &str| Exemption::Domain(name.to_owned(), None);
        check(Exemption::All, "a.test", true);
        check(domain("a.test"), "a.test", true);
        check(domain("a.test"), "a.test.", true);
        check(domain("a.test"), "b.a.test", true);
        check(domain("a.test"), "ba.test", false);
        check(
            Exemption::Domain("a.test".to_owned(), Some(80)),
            "a.test",
            true,
        );
        check(
            Exemption::Domain("a.test".to_owned(), Some(81)),
            "a.test",
            false,
        );
        let network = |text: &str, bits| Exemption::Network(text.parse().expect("valid"), bits);
        check(network("10.0.0.0", 8), "10.9.9.9", true);
        check(network("10.0.0.0", 8), "11.0.0.0", false);
        check(network("10.0.0.0", 0), "11.0.0.0", true);
        check(network("10.0.0.1", 32), "10.0.0.1", true);
        check(network("10.0.0.1", 32), "10.0.0.2", false);
        check(network("10.0.0.0", 8), "a.test", false);
        check(network("::1", 128), "[::1]", true);
        check(network("fd00::", 8), "[fd12::1]", true);
        check(network("::", 0), "127.0.0.1", false);
    }

    #[test]
    fn http_is_forwarded_and_everything_else_goes_through_a_tunnel() {
        let proxy = |scheme| {
            Some(Proxy {
                scheme,
                host: "p".to_owned(),
                port: 1,
                credentials: None,
            })
        };
        let mut options = options();
        for (scheme, forwards) in [
            (ProxyScheme::Http, true),
            (ProxyScheme::Https, true),
            (ProxyScheme::Socks5, false),
            (ProxyScheme::Socks5h, false),
        ] {
            options.proxies.http = proxy(scheme);
            let route = Route::of(&options, false, "a.test", 80);
            assert_eq!(matches!(route, Route::Forward(_)), forwards, "{scheme:?}");
            assert_eq!(Route::of(&options, true, "a.test", 443), Route::Direct);
        }
        options.proxies.https = proxy(ProxyScheme::Http);
        let route = Route::of(&options, true, "a.test", 443);
        assert!(matches!(route, Route::Tunnel(_)), "{route:?}");
    }
}
