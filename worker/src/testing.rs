//! What unit tests share: options of a worker with short limits and no surprises, and a success.

use std::time::Duration;

use protocol::{Exchange, HttpOptions, LoginOptions, Proxies, Stored, Trust, Validators};

pub(crate) fn stored() -> Stored {
    Stored {
        exchange: Exchange::default(),
        bytes: 0,
        sha256: [0; 32],
        content_type: None,
        executed: None,
        validators: Validators::default(),
        modified: None,
        unchanged: false,
        suggested_name: None,
    }
}

pub(crate) fn options() -> HttpOptions {
    HttpOptions {
        user_agent: "test/1".to_owned(),
        headers: Vec::new(),
        connect_timeout: Duration::from_secs(10),
        stall_timeout: Duration::from_secs(10),
        max_time: None,
        max_redirects: 5,
        max_filesize: None,
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
