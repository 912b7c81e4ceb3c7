//! How this program turns names into addresses.

/// The sources of names that are compiled in, by the databases that they are for.
#[cfg(target_env = "gnu")]
const SOURCES: [(&std::ffi::CStr, &std::ffi::CStr); 4] = [
    (c"passwd", c"files"),
    (c"group", c"files"),
    (c"hosts", c"files dns"),
    (c"services", c"files"),
];

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "libc does not declare it; glibc does, in nss.h")]
unsafe extern "C" {
    fn __nss_configure_lookup(database: *const libc::c_char, sources: *const libc::c_char) -> libc::c_int;
}

/// Keeps glibc to the sources of names that are compiled in, whatever `/etc/nsswitch.conf` says. A static program that
/// loads a module of another glibc for a name crashes. To be called before anything is looked up.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc has no other way to say where names come from")]
pub fn use_built_in_sources() {
    for (database, sources) in SOURCES {
        // SAFETY: both are texts that end with NUL and live for ever, as glibc keeps pointers to them; no other thread
        // runs yet that could look a name up. A refusal leaves what was configured before.
        unsafe {
            __nss_configure_lookup(database.as_ptr(), sources.as_ptr());
        }
    }
}

/// Other libraries load no modules.
#[cfg(not(target_env = "gnu"))]
pub fn use_built_in_sources() {}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    #[test]
    fn an_unknown_host_is_an_error_and_no_crash() {
        super::use_built_in_sources();
        assert!(("no-such-host.invalid", 443).to_socket_addrs().is_err());
        assert!(("localhost", 443).to_socket_addrs().is_ok());
    }
}
