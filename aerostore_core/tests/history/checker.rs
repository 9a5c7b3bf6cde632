//! The checker, and histories that it has to find fault with.

use adya::{History, Opts, Report, Workload, check};
use std::fmt::Write as _;
use std::time::Duration;

/// Does the history satisfy `model`?
pub(crate) fn verdict(history: &History, model: &str) -> Report {
    let opts = Opts { models: vec![model.to_owned()], timeout: Duration::from_secs(20), ..Opts::default() };
    check(history, Workload::ListAppend, &opts)
}

/// What was found, the first of each kind in full.
pub(crate) fn explain(report: &Report) -> String {
    let mut text = format!("{:?}\n", report.valid);
    for (kind, found) in &report.anomalies {
        let first = found.first().map_or("", |anomaly| &anomaly.explanation);
        let _ = writeln!(text, "{kind} ({} times): {first}", found.len());
    }
    text
}

mod tests {
    use super::*;
    use adya::Valid;

    /// A history in which each line is a transaction: process, outcome, operations. All begin before any ends, unless `>` stands
    /// before the line: then it begins when those before it have ended.
    fn history(lines: &[(&str, &str)]) -> History {
        let mut text = String::new();
        let mut open: Vec<(usize, &str, &str)> = Vec::new();
        let op = |kind: &str, process: usize, value: &str| {
            format!("{{\"type\":\"{kind}\",\"process\":{process},\"value\":{value}}}\n")
        };
        for (process, (outcome, value)) in lines.iter().enumerate() {
            if let Some(outcome) = outcome.strip_prefix('>') {
                for (process, outcome, value) in open.drain(..) {
                    text.push_str(&op(outcome, process, value));
                }
                text.push_str(&op("invoke", process, value));
                open.push((process, outcome, value));
            } else {
                text.push_str(&op("invoke", process, value));
                open.push((process, outcome, value));
            }
        }
        for (process, outcome, value) in open {
            text.push_str(&op(outcome, process, value));
        }
        History::from_json(&text).unwrap()
    }

    fn finds(anomaly: &str, lines: &[(&str, &str)]) {
        let report = verdict(&history(lines), "strict-serializable");
        assert_eq!(report.valid, Valid::False, "{anomaly} was not found");
        assert!(report.anomaly_types.iter().any(|found| found == anomaly), "{}", explain(&report));
    }

    #[test]
    fn finds_g0() {
        finds(
            "G0",
            &[
                ("ok", r#"[["append","x",1],["append","y",1]]"#),
                ("ok", r#"[["append","x",2],["append","y",2]]"#),
                ("ok", r#"[["r","x",[1,2]],["r","y",[2,1]]]"#),
            ],
        );
    }

    #[test]
    fn finds_g1a() {
        finds("G1a", &[("fail", r#"[["append","x",1]]"#), ("ok", r#"[["r","x",[1]]]"#)]);
    }

    #[test]
    fn finds_g1b() {
        finds("G1b", &[("ok", r#"[["append","x",1],["append","x",2]]"#), ("ok", r#"[["r","x",[1]]]"#)]);
    }

    #[test]
    fn finds_g1c() {
        finds(
            "G1c",
            &[("ok", r#"[["append","x",1],["r","y",[1]]]"#), ("ok", r#"[["append","y",1],["r","x",[1]]]"#)],
        );
    }

    #[test]
    fn finds_g_single() {
        finds(
            "G-single-item",
            &[("ok", r#"[["r","x",[]],["r","y",[1]]]"#), ("ok", r#"[["append","x",1],["append","y",1]]"#)],
        );
    }

    #[test]
    fn finds_a_lost_update() {
        finds(
            "lost-update",
            &[
                ("ok", r#"[["r","x",[]],["append","x",1]]"#),
                ("ok", r#"[["r","x",[]],["append","x",2]]"#),
                (">ok", r#"[["r","x",[1,2]]]"#),
            ],
        );
    }

    #[test]
    fn finds_g2() {
        finds(
            "G2-item",
            &[
                ("ok", r#"[["r","x",[]],["r","y",[]],["append","x",1]]"#),
                ("ok", r#"[["r","x",[]],["r","y",[]],["append","y",1]]"#),
            ],
        );
    }

    #[test]
    fn finds_a_read_of_the_past() {
        finds(
            "G-single-item-realtime",
            &[("ok", r#"[["append","x",1]]"#), (">ok", r#"[["r","x",[]]]"#), (">ok", r#"[["r","x",[1]]]"#)],
        );
    }

    #[test]
    fn finds_an_acknowledged_append_that_is_gone() {
        finds(
            "G-single-item-realtime",
            &[
                ("ok", r#"[["append","x",1]]"#),
                (">ok", r#"[["append","x",2]]"#),
                (">ok", r#"[["r","x",[2]]]"#),
            ],
        );
    }

    #[test]
    fn accepts_unknown_outcomes_either_way() {
        let seen =
            [("info", r#"[["append","x",1],["append","y",1]]"#), (">ok", r#"[["r","x",[1]],["r","y",[1]]]"#)];
        let unseen = [
            ("info", r#"[["append","x",1],["append","y",1]]"#),
            ("ok", r#"[["append","x",2]]"#),
            (">ok", r#"[["r","x",[2]],["r","y",[]]]"#),
        ];
        for lines in [&seen[..], &unseen] {
            let report = verdict(&history(lines), "strict-serializable");
            assert_eq!(report.valid, Valid::True, "{}", explain(&report));
        }
        // Half of it is not either way.
        finds(
            "G-single-item",
            &[
                ("info", r#"[["append","x",1],["append","y",1]]"#),
                ("ok", r#"[["append","y",2]]"#),
                (">ok", r#"[["r","x",[1]],["r","y",[2]]]"#),
                (">ok", r#"[["r","x",[1]],["r","y",[2,1]]]"#),
            ],
        );
    }
}
