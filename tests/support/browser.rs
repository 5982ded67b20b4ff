//! A headless Chromium that is controlled over its debugging pipe.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The environment variable with the folder for pictures of pages.
const PICTURES: &str = "PAGE_PICTURES";

/// Names of the Chromium program.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// Options that turn off what is unrelated to the page. None changes what a page may do.
const OPTIONS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _profile: TempDir,
    session: String,
    calls: u64,
    events: VecDeque<Value>,
}

/// Returns the name of the browser. Without one the test is skipped; in CI it fails.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn chromium() -> Option<&'static str> {
    let there = |name: &&str| {
        let version = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    };
    let found = NAMES.into_iter().find(there);
    if found.is_none() {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(
            !ci,
            "there is no Chromium: install it, the page is not tested without"
        );
        eprintln!("skipped: there is no Chromium to open the page with");
    }
    found
}

impl Browser {
    pub fn start(program: &str) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // Chromium reads commands from descriptor 3 and answers on descriptor 4.
        let mut process = Command::new("sh")
            .args([
                "-c",
                "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null",
                "sh",
                program,
            ])
            .args(OPTIONS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let mut browser = Self {
            to: process.stdin.take().expect("it is piped"),
            from: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
            _profile: profile,
            session: String::new(),
            calls: 0,
            events: VecDeque::new(),
        };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = &page["targetId"];
        let attach = json!({ "targetId": target, "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Network", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method and returns its result. Keeps the events that arrive in between.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("Chromium listens");
        loop {
            let message = self.receive();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from
            .read_until(0, &mut bytes)
            .expect("Chromium speaks");
        assert_eq!(bytes.pop(), Some(0), "Chromium has left");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Opens a page and waits until it has loaded.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(loaded) {
            let event = self.receive();
            self.events.push_back(event);
        }
    }

    /// Returns all events so far of these methods.
    pub fn events(&self, methods: &[&str]) -> Vec<&Value> {
        let wanted = |event: &&Value| methods.iter().any(|method| event["method"] == *method);
        self.events.iter().filter(wanted).collect()
    }

    /// Returns the value of an expression in the page. Waits for promises.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    /// Returns the number of elements that match a selector.
    pub fn count(&mut self, selector: &str) -> u64 {
        let found = self.evaluate(&format!("document.querySelectorAll({selector:?}).length"));
        found.as_u64().expect("a number")
    }

    /// Presses and releases a key.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                json!({ "type": kind, "key": key }),
            );
        }
    }

    /// Sets the width of the screen, and a light or dark colour scheme.
    pub fn screen(&mut self, width: u32, scheme: &str) {
        let metrics = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let media = json!({ "media": "", "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// Shows the page as printed on paper of this width, for a user with a light or dark screen.
    pub fn paper(&mut self, width: u32, scheme: &str) {
        self.screen(width, scheme);
        let media = json!({ "media": "print", "features": [
            { "name": "prefers-color-scheme", "value": scheme },
        ]});
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// Returns a picture of the whole page, as PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let parameters = json!({ "format": "png", "captureBeyondViewport": true, "clip": {
            "x": 0, "y": 0, "scale": 1,
            "width": self.evaluate("document.documentElement.clientWidth"),
            "height": self.evaluate("document.documentElement.scrollHeight"),
        }});
        let picture = self.call("Page.captureScreenshot", parameters);
        let data = picture["data"].as_str().expect("a picture");
        data_encoding::BASE64
            .decode(data.as_bytes())
            .expect("BASE64")
    }
}

impl Browser {
    /// Waits until the page has adapted to the new size of the screen.
    pub fn settle(&mut self) {
        self.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))",
        );
    }

    /// Waits until an expression holds. Fails after a minute.
    pub fn wait_for(&mut self, condition: &str) {
        self.evaluate(&format!(
            "new Promise((done, fail) => {{
                setTimeout(() => fail('waited in vain'), 60000);
                const look = () => ({condition}) ? done(1) : requestAnimationFrame(look);
                look();
            }})"
        ));
    }

    /// Returns the value of an expression that is a number.
    pub fn number(&mut self, expression: &str) -> f64 {
        self.evaluate(expression).as_f64().expect("a number")
    }

    /// Keeps a picture if [`PICTURES`] is set.
    pub fn keep(&mut self, name: &str) {
        if let Some(folder) = std::env::var_os(PICTURES) {
            let path: PathBuf = Path::new(&folder).join(format!("{name}.png"));
            std::fs::write(path, self.picture()).expect("the folder of pictures is there");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
