use super::*;
use crate::query::Plan;
use crate::query::fixture::Table;

fn found(text: &str) -> String {
    let mut table = Table::flights();
    let query = parse(&table.schema, text).expect(text);
    table.run(query).0.join(" ")
}

fn error(text: &str) -> String {
    let table = Table::flights();
    match parse(&table.schema, text).and_then(|query| Plan::new(&table.schema, query)) {
        Ok(plan) => panic!("{text} became {plan:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn conditions() {
    assert_eq!(found("altitude = 35000"), "UAL1 DLH3");
    assert_eq!(found("altitude>=12000 and lat<50.5"), "UAL1 DLH3");
    assert_eq!(found("altitude between 0 12000 or flight_id prefix SWR"), "UAL2 BAW4 SWR5");
    assert_eq!(found("not altitude = 35000 and not (lat > 50 or grounded true)"), "");
    assert_eq!(found("not not altitude null"), "GHOST");
    assert_eq!(found("origin = 'San Francisco' and not grounded true"), "UAL1");
    assert_eq!(found("origin in ('San Francisco', London)"), "UAL1 UAL2 BAW4");
    assert_eq!(found("origin in ()"), "");
    assert_eq!(found("altitude = -50"), "SWR5");
    assert_eq!(found("altitude notnull"), "UAL1 UAL2 DLH3 BAW4 SWR5");
}

#[test]
fn and_binds_before_or() {
    let both = found("altitude = 0 or altitude = 35000 and lat > 45");
    assert_eq!(both, "UAL2 DLH3");
    assert_eq!(found("(altitude = 0 or altitude = 35000) and lat > 45"), "DLH3");
}

#[test]
fn clauses() {
    assert_eq!(found(""), "UAL1 UAL2 DLH3 GHOST BAW4 SWR5");
    assert_eq!(found("sort -altitude, ident limit 3"), "GHOST DLH3 UAL1");
    assert_eq!(found("altitude > 0 sort altitude offset 1 limit 1 columns lat, 'ident'"), "UAL1");
    assert_eq!(found("limit 2"), "UAL1 UAL2");
    let table = Table::flights();
    let query = parse(&table.schema, "index altitude columns lat,ident").expect("a query");
    let plan = Plan::new(&table.schema, query).expect("a plan");
    assert_eq!(plan.columns(), [2, 0]);
    assert_eq!(
        plan.route(&crate::query::TableStatistics::default()).expect_err("no index").to_string(),
        "no index on column \"altitude\" of table \"Flight\""
    );
}

#[test]
fn quotes() {
    assert_eq!(found("origin = \"San Francisco\""), "UAL1 UAL2");
    assert_eq!(found("origin > 'L''x'"), "UAL1 UAL2 DLH3 BAW4 SWR5");
    assert_eq!(found("'flight_id'='UAL1'"), "UAL1");
    assert_eq!(found("origin = Zürich limit 1"), "DLH3");
}

#[test]
fn errors_say_where_and_what_was_expected() {
    let cases = [
        ("alt >", "bad query \"alt >\": expected a value at the end"),
        ("> 5", "bad term \"{5 >}\": unknown operator \"5\": must be"),
        ("alt", "bad query \"alt\": expected an operator at the end"),
        ("alt 'x' 5", "bad query \"alt 'x' 5\": expected an operator but got \"'x'\" at character 5"),
        ("alt ~ 5", "bad term \"{~ alt}\": unknown operator \"~\": must be"),
        ("speed = 5", "bad term \"{= speed 5}\": no column \"speed\" in table \"Flight\""),
        ("alt = high", "bad term \"{= alt high}\": expected a number for column \"alt\" but got \"high\""),
        ("alt in 5", "bad query \"alt in 5\": expected \"(\" but got \"5\" at character 8"),
        ("alt in (5", "bad query \"alt in (5\": expected \")\" at the end"),
        ("alt in (5,)", "bad query \"alt in (5,)\": expected a value but got \")\" at character 11"),
        ("(alt = 5", "bad query \"(alt = 5\": expected \")\" at the end"),
        (
            "alt = 5 6",
            "bad query \"alt = 5 6\": expected \"and\", \"or\", \"sort\", \"limit\", \"offset\", \"columns\", \"index\" or \"threads\" \
             but got \"6\" at character 9",
        ),
        ("origin = 'Zü", "bad query \"origin = 'Zü\": expected a closing ' after character 10"),
        (
            "limit -1",
            "bad query \"limit -1\": expected an integer that is not negative but got \"-1\" at character 7",
        ),
        ("limit", "bad query \"limit\": expected an integer that is not negative at the end"),
        ("sort", "bad query \"sort\": expected a column at the end"),
        ("sort speed", "bad term \"speed\": no column \"speed\" in table \"Flight\""),
        ("and", "bad query \"and\": expected an operator at the end"),
    ];
    for (text, expected) in cases {
        let error = error(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| format!("{}alt = 5{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&Table::flights().schema, &nested(MAX_DEPTH)).is_ok());
    assert!(error(&nested(100_000)).ends_with(&format!(
        "expected no more than 64 conditions within conditions but got \"(\" at character {}",
        MAX_DEPTH + 2
    )));
    assert!(error(&"not ".repeat(100_000)).contains("no more than 64"));
}
