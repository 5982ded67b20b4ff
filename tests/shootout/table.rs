//! The table on a narrow terminal.

use coordinator::shootout::terminal::write;

use crate::sample::sixteen;

fn lines(width: usize) -> Vec<String> {
    let mut out = Vec::new();
    write(&mut out, &sixteen(), width).expect("a vector takes all");
    let text = String::from_utf8(out).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn sentences_are_broken_between_words() {
    let narrow = lines(80);
    let end = narrow
        .iter()
        .position(String::is_empty)
        .expect("a table follows");
    assert!(end > 3, "{narrow:?}");
    for line in &narrow[..end] {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert_eq!(narrow[..end].join(" "), lines(usize::MAX)[..2].join(" "));
}

/// Returns the table, from its headings to its last row.
fn table(width: usize) -> Vec<String> {
    let lines = lines(width).into_iter();
    let from = lines.skip_while(|line| !line.trim_start().starts_with("entrant"));
    from.take(17).collect()
}

#[test]
fn a_narrow_terminal_has_fewer_columns_and_no_torn_lines() {
    let headings = |width: usize| -> Vec<String> {
        let table = table(width);
        for line in &table {
            assert!(line.chars().count() <= width, "{width}: {line}");
            assert_eq!(line.trim_end(), line, "no blanks at the end");
        }
        let words = table[0].split_whitespace();
        words.map(str::to_owned).collect()
    };
    let all = [
        "entrant", "median", "sd", "min", "max", "relative", "ideal", "files/s", "MiB/s", "CPU",
        "memory", "switches",
    ];
    assert_eq!(headings(usize::MAX), all);
    let at_80 = headings(80);
    assert_eq!(at_80, ["entrant", "median", "CPU"]);
    // The remaining columns keep their order.
    let mut rest = all.iter();
    assert!(
        at_80
            .iter()
            .all(|heading| rest.any(|other| other == heading))
    );
    assert_eq!(headings(40), ["entrant", "median"]);
    assert!(table(80)[1].contains('█'), "{:?}", table(80)[1]);
}
