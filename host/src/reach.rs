//! How far a connection goes: whether an address is this machine, a private network, or anybody's. What is private may be
//! talked to in the clear unless told otherwise; nothing else is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};
use std::time::Duration;

/// Longest wait for the addresses of a name.
const PATIENCE: Duration = Duration::from_secs(3);
/// Ends of names that nobody can register: reserved for one machine or one network (RFC 6761, 6762, 8375, ICANN's
/// `.internal`), and what a Kubernetes service is called inside its cluster.
const PRIVATE_ENDS: [&str; 5] = ["localhost", "local", "internal", "home.arpa", "svc"];

/// How far a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It stays on this machine or in a private network.
    Private,
    Public,
    /// The name alone does not tell; its addresses do.
    Unknown,
}

/// What a host's name or address tells by itself. A name without a dot is one of a container, of `/etc/hosts` or of the
/// own domain: only a resolver of this network answers for it.
pub fn of(host: &str) -> Reach {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.starts_with('/') {
        return Reach::Private;
    }
    if let Ok(address) = host.split('%').next().unwrap_or(host).parse() {
        return of_address(address);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let ends = |end: &&str| name.strip_suffix(*end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    // `134744072` and `0x08080808` are addresses as well.
    let is_number = name.starts_with(|c: char| c.is_ascii_digit());
    if PRIVATE_ENDS.iter().any(ends) || (!name.contains('.') && !is_number) { Reach::Private } else { Reach::Unknown }
}

/// As [`of`], from the addresses of a name: every one of them has to be private.
pub fn of_addresses(addresses: impl IntoIterator<Item = IpAddr>) -> Reach {
    let worse = |so_far, address| match (so_far, of_address(address)) {
        (Reach::Public, _) | (_, Reach::Public) => Reach::Public,
        (_, reach) => reach,
    };
    addresses.into_iter().fold(Reach::Unknown, worse)
}

/// As [`of`], asking the resolver where the name does not tell. Still unknown where that has no answer in time.
pub fn find(host: &str) -> Reach {
    let known = of(host);
    if known != Reach::Unknown {
        return known;
    }
    let (tell, told) = std::sync::mpsc::channel();
    let name = host.to_owned();
    let ask = move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        // Nobody listens any more where it took too long.
        tell.send(found.map(|found| found.map(|address| address.ip()).collect::<Vec<_>>()).unwrap_or_default()).ok();
    };
    // Not joined: the system's resolver has no limit of its own that one could rely on.
    let asked = std::thread::Builder::new().name("resolve".into()).spawn(ask).is_ok();
    let addresses = if asked { told.recv_timeout(PATIENCE).unwrap_or_default() } else { Vec::new() };
    of_addresses(addresses)
}

fn of_address(address: IpAddr) -> Reach {
    let private = match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_private_v4(address),
            None => is_private_v6(address),
        },
    };
    if private { Reach::Private } else { Reach::Public }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    // 100.64/10 is what carriers and overlay networks use among themselves (RFC 6598).
    let shared = a == 100 && (64..128).contains(&b);
    address.is_loopback() || address.is_private() || address.is_link_local() || address.is_unspecified() || shared
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let own = address.is_loopback() || address.is_unspecified();
    own || address.is_unique_local() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_private_networks_are_private() {
        let hosts = "127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.1.1 100.64.0.1 \
                     100.127.255.255 0.0.0.0 ::1 [::1] fe80::1 fe80::1%eth0 fd00::1 ::ffff:10.0.0.1";
        for host in hosts.split_whitespace() {
            assert_eq!(of(host), Reach::Private, "{host}");
        }
    }

    #[test]
    fn everything_else_is_anybodys() {
        let hosts = "8.8.8.8 172.32.0.1 172.15.0.1 192.169.0.1 100.63.0.1 100.128.0.1 169.253.0.1 11.0.0.1 2001:db8::1 \
                     [2001:db8::1] ::ffff:8.8.8.8 fec0::1 203.0.113.7";
        for host in hosts.split_whitespace() {
            assert_eq!(of(host), Reach::Public, "{host}");
        }
    }

    #[test]
    fn names_tell_where_nobody_can_register_them() {
        for host in
            "localhost LOCALHOST kafka kafka-1 postgres a.localhost pi.local broker.internal nas.home.arpa db.prod.svc \
                     db.prod.svc.cluster.local localhost. /run/postgresql"
                .split_whitespace()
        {
            assert_eq!(of(host), Reach::Private, "{host}");
        }
        for host in
            "kafka.example.com notlocal.locals evil-internal.com svc.example local.example.org 134744072 0x08080808 \
                     127.1"
                .split_whitespace()
        {
            assert_eq!(of(host), Reach::Unknown, "{host}");
        }
    }

    #[test]
    fn one_public_address_makes_a_name_public_and_none_leave_it_open() {
        let addresses =
            |text: &str| text.split_whitespace().map(|a| a.parse().expect("an address")).collect::<Vec<_>>();
        assert_eq!(of_addresses(addresses("10.0.0.1 fd00::1")), Reach::Private);
        assert_eq!(of_addresses(addresses("10.0.0.1 8.8.8.8")), Reach::Public);
        assert_eq!(of_addresses([]), Reach::Unknown);
        assert_eq!(find("127.1"), Reach::Private);
        assert_eq!(find("no-such-name.invalid"), Reach::Unknown);
    }
}
