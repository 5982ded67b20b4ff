//! Options of a worker for unit tests, with short limits.

use std::time::Duration;

use protocol::{HttpOptions, LoginOptions, Proxies, Trust};

pub(crate) fn options() -> HttpOptions {
    HttpOptions {
        user_agent: "test/1".to_owned(),
        headers: Vec::new(),
        connect_timeout: Duration::from_secs(10),
        stall_timeout: Duration::from_secs(10),
        max_time: None,
        max_redirects: 5,
        max_filesize: None,
        split: 1,
        resolve: Vec::new(),
        trust: Trust::WebRoots,
        insecure: false,
        compressed: false,
        retry_all_errors: false,
        speed_limit: None,
        family: None,
        block_private: false,
        proxies: Proxies::default(),
        login: LoginOptions::default(),
        simulated: None,
    }
}
