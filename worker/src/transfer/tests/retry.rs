//! Tests of the time after which a server asks for a retry.

use super::*;

#[test]
fn retry_after_is_read_as_seconds_or_date_and_bounded() {
    let check = |value: &str, expect: Option<u64>| {
        let options = options();
        let mut transfer = transfer(URL, &options);
        let fault = answer(&mut transfer, 503, &[("retry-after", value)], None).expect_err("503");
        let retry_after = expect.map(Duration::from_secs);
        assert_eq!(
            fault.severity,
            Severity::Transient { retry_after },
            "{value}"
        );
    };
    check("0", Some(0));
    check(" 120 ", Some(120));
    check("3601", Some(3600));
    check("99999999999999999999999999", Some(3600));
    check("Thu, 01 Jan 1970 00:01:00 GMT", Some(60));
    check("Thu, 01 Jan 2026 00:01:00 GMT", Some(3600));
    check("", None);
    check("-1", None);
    check("1.5", None);
    check("soon", None);
}

#[test]
fn a_date_to_come_back_at_is_one_of_the_servers_clock() {
    let check = |date: &str, seconds: u64| {
        let options = options();
        let mut transfer = transfer(URL, &options);
        let later = ("retry-after", "Thu, 01 Jan 2026 00:10:02 GMT");
        let fault = answer(&mut transfer, 503, &[("date", date), later], None).expect_err("503");
        let retry_after = Some(Duration::from_secs(seconds));
        assert_eq!(
            fault.severity,
            Severity::Transient { retry_after },
            "{date}"
        );
    };
    check("Thu, 01 Jan 2026 00:10:00 GMT", 2);
    check("Thu, 01 Jan 2026 00:11:00 GMT", 0);
    check("nonsense", 3600);
}
