//! Where a probe goes: addresses as they are, and names as `/etc/hosts` has them.
//!
//! No name service is asked: what is looked at is the bot, mostly on this host, and a name server that is
//! down must not restart it. A static program could not load a name service module anyway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// All addresses of a host, with this port. Errors on a name that is not known here.
pub(super) fn find(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let found = addresses(host, &hosts);
    if found.is_empty() {
        return Err(format!(
            "host {host} is not in /etc/hosts: write its address there, or in the probe"
        ));
    }
    Ok(found
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect())
}

fn addresses(host: &str, hosts: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    let host = host.trim_end_matches('.');
    // By its meaning, not by what somebody wrote into a file.
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    }
    let mut found = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_of_this_host() {
        let hosts = "127.0.0.1 localhost\n10.0.0.7\tapi.local api # old\n# 10.0.0.8 gone\n::7 api\nnonsense api\n";
        for (host, found) in [
            ("10.1.2.3", vec!["10.1.2.3"]),
            ("::1", vec!["::1"]),
            ("localhost", vec!["127.0.0.1", "::1"]),
            ("API", vec!["10.0.0.7", "::7"]),
            ("api.local.", vec!["10.0.0.7"]),
            ("gone", vec![]),
            ("old", vec![]),
        ] {
            let expected: Vec<IpAddr> = found.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(addresses(host, hosts), expected, "{host}");
        }
    }
}
