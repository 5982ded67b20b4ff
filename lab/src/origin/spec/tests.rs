//! Valid and invalid specs, and the errors for the latter.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Spec {
    text.parse()
        .unwrap_or_else(|error| panic!("`{text}` should be a spec: {error}"))
}

fn refusal(text: &str) -> String {
    match text.parse::<Spec>() {
        Ok(spec) => panic!("`{text}` should not be a spec, but is {spec}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_empty_text_is_the_default() {
    assert_eq!(parse(""), Spec::default());
    assert_eq!(parse("  "), Spec::default());
    assert_eq!(
        Spec::default().to_string(),
        "size=64KiB,latency=100ms,jitter=0s,errors=0%,truncate=0%,reset=0%,stall=0%,slow=0%,\
         endless=0%,disallow=0%,transient=none,range=on,validators=both,changed=0%,seed=1"
    );
}

#[test]
fn every_setting_is_read() {
    let spec = parse(
        "size=1KiB..1MB, latency=1.5s,jitter=20ms,errors=1%:404,truncate=0.02,reset=0.5%,\
         stall=1%,slow=2%,endless=3%,disallow=4%,transient=2,range=off,validators=date,changed=4%,seed=7",
    );
    let expected = Spec {
        size: SizeRange::new(1024, 1_000_000),
        latency: Duration::from_millis(1500),
        jitter: Duration::from_millis(20),
        errors: ErrorAnswers {
            rate: Rate(10_000),
            status: StatusCode::NOT_FOUND,
        },
        truncate: Rate(20_000),
        reset: Rate(5_000),
        stall: Rate(10_000),
        slow: Rate(20_000),
        endless: Rate(30_000),
        disallow: Rate(40_000),
        transient: Some(2),
        range: Range::Off,
        validators: Validators::Date,
        changed: Rate(40_000),
        seed: 7,
    };
    assert_eq!(spec, expected);
    assert_eq!(
        spec.to_string(),
        "size=1KiB..1000000B,latency=1s500ms,jitter=20ms,errors=1%:404,truncate=2%,reset=0.5%,\
         stall=1%,slow=2%,endless=3%,disallow=4%,transient=2,range=off,validators=date,changed=4%,seed=7"
    );
}

#[test]
fn a_refusal_names_the_setting_the_value_and_what_is_allowed() {
    assert_eq!(
        refusal("speed=1"),
        "cannot simulate `speed`: the settings are size, latency, jitter, errors, truncate, reset, stall, slow, endless, disallow, transient, range, validators, changed and seed"
    );
    assert_eq!(
        refusal("latency=fast"),
        "cannot use `fast` as latency: it takes a time such as 100ms or 1.5s, at most 24h"
    );
    assert_eq!(
        refusal("seed"),
        "`seed` has no value: write seed=VALUE, where VALUE is a whole number from 0 to 18446744073709551615"
    );
    assert_eq!(
        refusal("seed=1,seed=1"),
        "`seed` is given more than once: give it once"
    );
    assert_eq!(
        refusal("errors=50%,reset=0.6"),
        "errors, truncate, reset, stall, slow and endless add up to more than 100%: lower one of them"
    );
}

#[test]
fn values_out_of_their_range_are_refused() {
    for value in ["", "abc", "-1", "2MiB..1MiB", "1..", "..", "99999999TiB"] {
        assert!(refusal(&format!("size={value}")).contains("as size"));
    }
    for value in ["", "100", "-1s", "25h", "ms", "9999999999999999999999s"] {
        assert!(refusal(&format!("jitter={value}")).contains("as jitter"));
    }
    for value in ["", "%", "101%", "-1%", "1.01", "NaN", "inf", "0.00001%"] {
        assert!(refusal(&format!("truncate={value}")).contains("as truncate"));
    }
    for value in ["1%:", "1%:200", "1%:99", "1%:600", "1%:abc", ":404"] {
        assert!(refusal(&format!("errors={value}")).contains("as errors"));
    }
    for value in ["", "-1", "all", "4294967296"] {
        assert!(refusal(&format!("transient={value}")).contains("as transient"));
    }
    for key in ["range", "validators"] {
        assert!(refusal(&format!("{key}=ON")).contains(&format!("as {key}")));
    }
    assert!(refusal("size=1KiB,").contains("cannot simulate ``"));
}

prop_compose! {
    fn specs()(
        (one, other) in (any::<u64>(), any::<u64>()),
        shifts in (0_u32..64, 0_u32..64),
        latency in 0_u64..=86_400_000_000_000,
        jitter in 0_u64..=86_400_000_000_000,
        shares in prop::array::uniform6(0_u32..=166_666),
        disallow in 0_u32..=1_000_000,
        transient in any::<Option<u32>>(),
        (range, validators) in (0_usize..2, 0_usize..4),
        changed in 0_u32..=1_000_000,
        status in 400_u16..600,
        seed in any::<u64>(),
    ) -> Spec {
        Spec {
            size: SizeRange::new(one >> shifts.0 << (shifts.0 / 2), other >> shifts.1),
            latency: Duration::from_nanos(latency),
            jitter: Duration::from_nanos(jitter),
            errors: ErrorAnswers {
                rate: Rate(shares[0]),
                status: StatusCode::from_u16(status).expect("400 to 599 are statuses"),
            },
            truncate: Rate(shares[1]),
            reset: Rate(shares[2]),
            stall: Rate(shares[3]),
            slow: Rate(shares[4]),
            endless: Rate(shares[5]),
            disallow: Rate(disallow),
            transient,
            range: Range::ALL[range].1,
            validators: Validators::ALL[validators].1,
            changed: Rate(changed),
            seed,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_the_same(spec in specs()) {
        prop_assert_eq!(parse(&spec.to_string()), spec);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(size|latency|errors|seed|x)?=?.{0,12}(,.{0,8})?") {
        let _ = text.parse::<Spec>();
    }
}
