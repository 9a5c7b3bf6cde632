use crate::query::fixture::Table;
use crate::query::{Expr, Plan, Query, SortKey, compare};
use crate::row::NullRule;

fn error(terms: &[&str]) -> String {
    let table = Table::flights();
    let filter = match compare::term(&table.schema, terms) {
        Ok(filter) => filter,
        Err(error) => return error.to_string(),
    };
    match Plan::new(&table.schema, Query::filtered(filter)) {
        Ok(plan) => panic!("{terms:?} became {plan:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn comparisons() {
    let mut table = Table::flights();
    assert_eq!(table.search(&["= alt 35000"]), "UAL1 DLH3");
    assert_eq!(table.search(&["!= altitude 35000"]), "UAL2 BAW4 SWR5");
    assert_eq!(table.search(&["<> altitude 35000", "> lat 0"]), "UAL2 BAW4");
    assert_eq!(table.search(&["> altitude 0"]), "UAL1 DLH3 BAW4");
    assert_eq!(table.search(&["<= altitude 0"]), "UAL2 SWR5");
    assert_eq!(table.search(&["range altitude 0 12000"]), "UAL2");
    assert_eq!(table.search(&["between altitude 0 12000"]), "UAL2 BAW4");
    assert_eq!(table.search(&["between altitude 12000 0"]), "");
    assert_eq!(table.search(&["in altitude 0 12000 0 -50"]), "UAL2 BAW4 SWR5");
    assert_eq!(table.search(&["notin altitude 0 12000"]), "UAL1 DLH3 SWR5");
    assert_eq!(table.search(&["= lat 0"]), "SWR5");
    assert_eq!(table.search(&["= lat -0.0"]), "SWR5");
    assert_eq!(table.search(&["> lat 50"]), "BAW4");
    assert_eq!(table.search(&[">= origin San"]), "UAL1 UAL2 DLH3 SWR5");
    assert_eq!(table.search(&["< origin San"]), "BAW4");
    assert_eq!(table.search(&["= class J"]), "UAL1 DLH3");
    assert_eq!(table.search(&["> seen 300"]), "BAW4 SWR5");
}

#[test]
fn operands_beyond_the_type_compare_by_value() {
    let mut table = Table::flights();
    assert_eq!(table.search(&["> altitude 11999.5", "< altitude 12000.5"]), "BAW4");
    assert_eq!(table.search(&["= altitude 12000.0"]), "BAW4");
    assert_eq!(table.search(&["= altitude 12000.5"]), "");
    assert_eq!(table.search(&["< altitude 99999999999"]), "UAL1 UAL2 DLH3 BAW4 SWR5");
    assert_eq!(table.search(&["> altitude 1e300"]), "");
    assert_eq!(table.search(&["> flight_id TOOLONGFORTHECOLUMN"]), "UAL1 UAL2");
    assert_eq!(table.search(&["= flight_id TOOLONGFORTHECOLUMN"]), "");
}

#[test]
fn text_operators() {
    let mut table = Table::flights();
    assert_eq!(table.search(&["match origin z*"]), "DLH3 SWR5");
    assert_eq!(table.search(&["match_case origin z*"]), "");
    assert_eq!(table.search(&["notmatch origin z*"]), "UAL1 UAL2 BAW4");
    assert_eq!(table.search(&["notmatch_case origin Z*"]), "UAL1 UAL2 BAW4");
    assert_eq!(table.search(&["prefix flight_id UAL"]), "UAL1 UAL2");
    assert_eq!(table.search(&["prefix flight_id ual"]), "");
    assert_eq!(table.search(&["match class [jf]"]), "UAL1 DLH3 BAW4");
}

#[test]
fn truth() {
    let mut table = Table::flights();
    assert_eq!(table.search(&["true grounded"]), "UAL2 SWR5");
    assert_eq!(table.search(&["false grounded"]), "UAL1 DLH3 BAW4");
    assert_eq!(table.search(&["= grounded yes"]), "UAL2 SWR5");
    assert_eq!(table.search(&["false altitude"]), "UAL2");
    assert_eq!(table.search(&["true lat"]), "UAL1 UAL2 DLH3 BAW4");
}

#[test]
fn nulls_are_unknown_by_default() {
    let mut table = Table::flights();
    assert_eq!(table.search(&["null altitude"]), "GHOST");
    assert_eq!(table.search(&["notnull altitude"]), "UAL1 UAL2 DLH3 BAW4 SWR5");
    assert_eq!(table.search(&["= altitude "]), "");
    assert_eq!(table.search(&["< altitude \\N"]), "");
    let filter = compare::term(&table.schema, &["in", "altitude", "", "0"]).expect("a sound term");
    assert_eq!(table.run(Query::filtered(filter.clone())).0, ["UAL2"]);
    assert_eq!(table.run(Query::filtered(filter.negate())).0, ["UAL1", "DLH3", "BAW4", "SWR5"]);
    let less = compare::term(&table.schema, &["<", "altitude", "0"]).expect("a sound term").negate();
    assert_eq!(table.run(Query::filtered(less)).0, ["UAL1", "UAL2", "DLH3", "BAW4"]);
}

#[test]
fn nulls_can_be_above_all() {
    let mut table = Table::flights();
    let mut search = |terms: &[&str]| {
        let filter = compare::term(&table.schema, terms).expect("a sound term");
        table.run(Query::filtered(filter).nulls(NullRule::High)).0.join(" ")
    };
    assert_eq!(search(&["=", "altitude", ""]), "GHOST");
    assert_eq!(search(&["=", "origin", ""]), "GHOST");
    assert_eq!(search(&[">", "altitude", "12000"]), "UAL1 DLH3 GHOST");
    assert_eq!(search(&["<", "altitude", ""]), "UAL1 UAL2 DLH3 BAW4 SWR5");
    assert_eq!(search(&["!=", "altitude", "35000"]), "UAL2 GHOST BAW4 SWR5");
    assert_eq!(search(&["between", "altitude", "12000", "\\N"]), "UAL1 DLH3 GHOST BAW4");
    assert_eq!(search(&["notmatch", "origin", "*"]), "GHOST");
    assert_eq!(search(&["false", "grounded"]), "UAL1 DLH3 BAW4");
}

#[test]
fn errors_quote_the_term() {
    assert_eq!(
        error(&[">", "altitude"]),
        "bad term \"{> altitude}\": expected {> column value} but got 0 values"
    );
    assert_eq!(error(&["in"]), "bad term \"{in}\": expected {operator column ?value ...?}");
    assert_eq!(error(&[]), "bad term \"{}\": expected {operator column ?value ...?}");
    assert!(error(&["like", "altitude", "3 4"]).starts_with(
        "bad term \"{like altitude {3 4}}\": unknown operator \"like\": must be =, ==, !=, <>, <, <=, >, >=, range,"
    ));
    assert_eq!(
        error(&["=", "speed", "3"]),
        "bad term \"{= speed 3}\": no column \"speed\" in table \"Flight\": must be flight_id, altitude, lat, origin, \
         grounded, class, or seen"
    );
    assert_eq!(
        error(&["=", "alt", "high"]),
        "bad term \"{= alt high}\": expected a number for column \"alt\" but got \"high\""
    );
    assert_eq!(
        error(&["in", "lat", "1", "nan"]),
        "bad term \"{in lat {1 nan}}\": expected a finite number for column \"lat\" but got \"nan\""
    );
    assert_eq!(
        error(&["match", "altitude", "3*"]),
        "bad term \"{match altitude 3*}\": match needs a column of text, but \"altitude\" is int"
    );
    assert_eq!(
        error(&["true", "origin"]),
        "bad term \"{true origin}\": true needs a column of booleans or numbers, but \"origin\" is string(40)"
    );
    assert_eq!(
        error(&["null", "lat", "1"]),
        "bad term \"{null lat 1}\": expected {null column} but got 1 value"
    );
    assert!(
        error(&["=", "class", "xy"])
            .ends_with("expected a single character for column \"class\" but got \"xy\"")
    );
}

#[test]
fn unknown_columns_in_other_clauses_are_quoted_too() {
    let table = Table::flights();
    let sort = Query::all().sort_by(SortKey::parse("-speed"));
    let error = Plan::new(&table.schema, sort).expect_err("no such column");
    assert!(error.to_string().starts_with("bad term \"-speed\": no column \"speed\" in table \"Flight\""));
    let error = Plan::new(&table.schema, Query::all().columns(["lat", "lng"])).expect_err("no such column");
    assert_eq!(error.term(), "lng");
}

#[test]
fn empty_trees() {
    let mut table = Table::flights();
    assert_eq!(table.run(Query::filtered(Expr::All(vec![]))).0.len(), 6);
    assert_eq!(table.run(Query::filtered(Expr::Any(vec![]))).0.len(), 0);
    assert_eq!(table.run(Query::filtered(Expr::Any(vec![]).negate())).0.len(), 6);
}
