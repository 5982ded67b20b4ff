//! Addresses outside the public internet, which `--block-private` excludes.
//!
//! The tables follow the IANA registries of special-purpose addresses (RFC 6890 and its
//! successors). An IPv6 address that contains an IPv4 address is judged by the IPv4 address. This
//! module must not resolve names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First address and length of each IPv4 network.
const V4: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),        // this network (RFC 791)
    ([10, 0, 0, 0], 8),       // private use (RFC 1918)
    ([100, 64, 0, 0], 10),    // shared by carriers (RFC 6598); metadata of one cloud
    ([127, 0, 0, 0], 8),      // loopback
    ([168, 63, 129, 16], 32), // metadata of another cloud
    ([169, 254, 0, 0], 16),   // link-local (RFC 3927); metadata of most clouds
    ([172, 16, 0, 0], 12),    // private use
    ([192, 0, 0, 0], 24),     // protocol assignments (RFC 6890)
    ([192, 0, 2, 0], 24),     // documentation (RFC 5737)
    ([192, 88, 99, 0], 24),   // former relays (RFC 7526)
    ([192, 168, 0, 0], 16),   // private use
    ([198, 18, 0, 0], 15),    // benchmarks (RFC 2544)
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 3),      // multicast, reserved, broadcast
];

/// First address and length of each IPv6 network.
const V6: [([u16; 8], u8); 9] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 127),         // unspecified, loopback
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),  // translation within a site (RFC 8215)
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64),      // discard (RFC 6666)
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),     // protocol assignments, Teredo (RFC 2928)
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation (RFC 3849)
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),      // unique local (RFC 4193); metadata of one cloud
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),     // link-local
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),     // site-local, retired (RFC 3879)
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),      // multicast
];

/// Returns whether `addr` is on the public internet.
pub(crate) fn is_public(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => is_public_v4(addr),
        IpAddr::V6(addr) => match stands_for(addr) {
            Some(addr) => is_public_v4(addr),
            None => !V6.iter().any(|(network, length)| {
                let network = Ipv6Addr::from(*network).to_bits();
                (network ^ addr.to_bits()) >> (128 - u32::from(*length)) == 0
            }),
        },
    }
}

fn is_public_v4(addr: Ipv4Addr) -> bool {
    !V4.iter().any(|(network, length)| {
        let network = Ipv4Addr::from(*network).to_bits();
        (network ^ addr.to_bits()) >> (32 - u32::from(*length)) == 0
    })
}

/// Returns the IPv4 address that an IPv6 address leads to: mapped and compatible (RFC 4291 section
/// 2.5.5), translated (RFC 6052), 6to4 (RFC 3056).
fn stands_for(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match addr.segments() {
        // `::` and `::1` contain no IPv4 address.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => join(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_public_or_not() {
        let check = |text: &str, expect: bool| {
            let addr = text.parse().expect("an address");
            assert_eq!(is_public(addr), expect, "{text}");
        };
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            check(public, true);
        }
        for private in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:0:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            check(private, false);
        }
    }
}
