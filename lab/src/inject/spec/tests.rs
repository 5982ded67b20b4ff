//! The SPEC of `--inject`: what it means, what is refused, and that it can be written back.

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

fn millionths(millionths: u32) -> Share {
    Share::from_millionths(millionths).expect("at most all")
}

#[test]
fn every_kind_of_fault_is_read() {
    let spec = parse(
        "kill=20/s, segv=0.5%,hang@/a=b@c?d,no-connect=100%,kill-all=0.1/s,segv@/poison,seed=7",
    );
    let poison = |fault, text: &str| Poison {
        fault,
        text: text.to_owned(),
    };
    let expected = Spec {
        tasks: [(TaskFault::Segv, millionths(5000))].into(),
        poisons: vec![
            poison(TaskFault::Hang, "/a=b@c?d"),
            poison(TaskFault::Segv, "/poison"),
        ],
        starts: [(StartFault::NoConnect, millionths(1_000_000))].into(),
        signals: [
            (SignalFault::Kill, Rate(20_000)),
            (SignalFault::KillAll, Rate(100)),
        ]
        .into(),
        seed: 7,
    };
    assert_eq!(spec, expected);
    assert_eq!(
        spec.to_string(),
        "segv=0.5%,no-connect=100%,hang@/a=b@c?d,segv@/poison,kill=20/s,kill-all=0.1/s,seed=7"
    );
}

#[test]
fn every_fault_there_is_can_be_named() {
    for fault in TaskFault::ALL {
        let name = fault.name();
        let spec = parse(&format!("{name}=1%,{name}@x"));
        assert_eq!(spec.tasks.get(&fault), Some(&millionths(10_000)));
        assert_eq!(spec.poisons[0].fault, fault);
    }
    for fault in StartFault::ALL {
        let spec = parse(&format!("{}=2%", fault.name()));
        assert_eq!(spec.starts.get(&fault), Some(&millionths(20_000)));
    }
    for fault in SignalFault::ALL {
        let spec = parse(&format!("{}=3/s", fault.name()));
        assert_eq!(spec.signals.get(&fault), Some(&Rate(3000)));
    }
}

#[test]
fn what_happens_to_nobody_is_left_out() {
    let spec = parse("segv=0%,no-start=0.0%,seed=3");
    assert_eq!((spec.faults(), spec.start_faults()), (None, None));
    assert_eq!(spec.to_string(), "seed=3");
    assert_eq!(parse("seed=3"), spec);
}

#[test]
fn faults_that_only_a_process_can_have_are_known() {
    for (text, expected) in [
        ("segv=1%,hang@x,eat=1%,exit=1%,abort=1%", None),
        ("segv=1%,garbage=1%", Some("garbage")),
        ("garbage@x", Some("garbage")),
        ("no-start=1%", Some("no-start")),
        ("pause=1/s", Some("pause")),
    ] {
        assert_eq!(parse(text).of_processes(), expected, "{text}");
    }
}

#[test]
fn a_refusal_names_the_item_and_what_is_expected() {
    let faults = "the faults are segv, abort, exit, eat, hang and garbage (=N% or @TEXT), \
                  no-connect and no-start (=N%), kill, stop, pause and kill-all (=R/s), and seed=N";
    for (text, item) in [
        ("", ""),
        ("segv=1%,", ""),
        ("oops=1%", "oops"),
        ("oops@x", "oops@x"),
    ] {
        assert_eq!(refusal(text), format!("cannot inject `{item}`: {faults}"));
    }
    let share = "a percentage from 0% to 100%, in steps of 0.0001%, such as 5% or 0.5%";
    assert_eq!(
        refusal("kill=1/s,hang"),
        format!("`hang` has no value: write hang=VALUE, where VALUE is {share}")
    );
    for value in [
        "", "5", "101%", "-1%", "0.00001%", "%", "1/s", "half", "nan%",
    ] {
        assert_eq!(
            refusal(&format!("hang={value}")),
            format!("cannot use `{value}` as hang: it takes {share}")
        );
    }
    for value in [
        "", "5", "5%", "0/s", "0.0001/s", "1001/s", "5/m", "-1/s", "/s",
    ] {
        let expected = format!("cannot use `{value}` as kill: it takes a rate from 0.001/s to");
        let refusal = refusal(&format!("kill={value}"));
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
    assert_eq!(
        refusal("segv=1%,seed=x"),
        "cannot use `x` as seed: it takes a whole number from 0 to 18446744073709551615"
    );
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    assert_eq!(
        refusal("segv=1%,segv=1%"),
        "`segv` is given more than once: give it once"
    );
    assert_eq!(
        refusal("segv@a,segv@b,segv@a"),
        "`segv@a` is given more than once: give it once"
    );
    assert_eq!(
        refusal("segv=50%,hang=50.1%"),
        "segv, abort, exit, eat, hang and garbage add up to more than 100%: lower one of them"
    );
    assert_eq!(
        refusal("no-connect=50%,no-start=50.1%"),
        "no-connect and no-start add up to more than 100%: lower one of them"
    );
    assert_eq!(
        refusal("kill@/a"),
        "`kill` cannot be had for certain URLs (`kill@/a`): only segv, abort, exit, eat, hang and \
         garbage can"
    );
    assert_eq!(
        refusal("segv@"),
        "the text of `segv@` has 0 bytes: it can have from 1 to 256"
    );
    let long = format!("segv@{}", "x".repeat(MAX_POISON_TEXT + 1));
    assert!(refusal(&long).contains("has 257 bytes"));
    let many: Vec<_> = (0..=MAX_POISONS).map(|n| format!("exit@{n}")).collect();
    assert_eq!(
        refusal(&many.join(",")),
        "33 faults with @TEXT are given: at most 32 can be"
    );
}

/// Shares for some of `faults` that add up to at most 100%.
fn shares<T: Copy + Ord + fmt::Debug + 'static>(
    faults: &'static [T],
) -> impl Strategy<Value = BTreeMap<T, Share>> {
    let most = Share::WHOLE / u32::try_from(faults.len()).expect("a few");
    let share = (1..=most).prop_map(millionths);
    prop::collection::btree_map(prop::sample::select(faults), share, 0..=faults.len())
}

prop_compose! {
    fn specs()(
        tasks in shares(&TaskFault::ALL),
        poisons in prop::collection::btree_set(
            (prop::sample::select(TaskFault::ALL.as_slice()), "[!-+\\--~é]{1,20}"),
            0..8,
        ),
        starts in shares(&StartFault::ALL),
        signals in prop::collection::btree_map(
            prop::sample::select(SignalFault::ALL.as_slice()),
            (1..=1_000_000_u32).prop_map(Rate),
            0..=4,
        ),
        seed in any::<u64>(),
    ) -> Spec {
        let poisons = poisons
            .into_iter()
            .map(|(fault, text)| Poison { fault, text })
            .collect();
        Spec { tasks, poisons, starts, signals, seed }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_the_same(spec in specs()) {
        prop_assert_eq!(parse(&spec.to_string()), spec);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(segv|kill|no-start|seed|x)?[=@]?.{0,12}(,.{0,8})?") {
        let _ = text.parse::<Spec>();
    }
}
