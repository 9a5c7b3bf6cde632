//! Aerostore and the engines a user would pick instead, on the same workloads: load, read, update, search, wait for the disk, restart.
//!
//! workloads ?OPTION ...?
//!
//!   --rows N        flights of 108 bytes in fourteen columns, six of them indexed; default 1 000 000
//!   --rounds N      turns of each engine at each question, interleaved A B A B; default 7
//!   --millis N      length of a turn; default 200
//!   --restarts N    restarts of each engine after a kill; default 3
//!   --only W2,W3    some of the workloads; default all
//!   --engines A,B   some of the engines; default all: aerostore lmdb redb fjall sqlite redis postgres, and as bounds, in one process
//!                   and private memory, without log, versions or transactions: btreesets skipsets papaya
//!   --scaling N     instead: from 1 000 to N rows, ten times as many each time, and from 1 to 64 sessions on the rows of --rows
//!   --crucible S    instead: sixteen processes report flights and search among them, S seconds each in mappings of --mappings and in
//!                   PostgreSQL; on 50 000 rows, unless --rows says otherwise
//!   --mappings A,B  mebibytes; default 512,1024,2048
//!   --short         20 000 rows, one turn of 20 ms, one restart: whether everything works
//!   --out DIR       writes results.json, results.md and workloads.svg there (scaling.json, scaling.md and scaling.svg)
//!
//! Durability  commits return before they are on disk (Aerostore, Redis, PostgreSQL and fjall write their log behind; LMDB, redb and SQLite
//!             never sync, on a tmpfs), except in W4, where every commit is on disk when it returns, for all.
//! Processes   workers are processes of their own; of engines for one process (redb, fjall, the bounds), threads of one.
//!             Each is pinned to a processor, what engines and servers run besides is not.

#![forbid(unsafe_code)]

use aerostore_bench::indexed::Failure;
use aerostore_bench_workloads::engines::Kind;
use aerostore_bench_workloads::figures::{self, Circumstances};
use aerostore_bench_workloads::workloads::{self, Options};
use aerostore_bench_workloads::{crucible, host, plot, scaling};
use std::path::PathBuf;
use std::time::Duration;

const PREFACE: &str = "Made by `scripts/bench workloads`; [benchmarks.md](../benchmarks.md) says how to read it. \
    Names in brackets are bounds, not engines. Rates are medians of turns, ratios medians turn by turn; above 1 Aerostore is better.";

fn main() {
    if let Err(error) = run() {
        workloads::told();
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == host::HOST) {
        return host::serve(&arguments[1..]);
    }
    let mut options = Options {
        rows: 0,
        rounds: 7,
        turn: Duration::from_millis(200),
        restarts: 3,
        kinds: Kind::ALL.to_vec(),
        only: Vec::new(),
    };
    let (mut out, mut rows_max, mut seconds) = (None, None, None);
    let mut mappings = crucible::MAPPINGS.to_vec();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} without a value"));
        match word.as_str() {
            "--rows" => options.rows = value()?.parse()?,
            "--rounds" => options.rounds = value()?.parse()?,
            "--millis" => options.turn = Duration::from_millis(value()?.parse()?),
            "--scaling" => rows_max = Some(value()?.parse()?),
            "--crucible" => seconds = Some(value()?.parse()?),
            "--mappings" => mappings = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--restarts" => options.restarts = value()?.parse()?,
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--engines" => {
                let kind = |name: &str| Kind::from_name(name).ok_or_else(|| format!("no engine '{name}'"));
                options.kinds = value()?.split(',').map(kind).collect::<Result<_, _>>()?;
            }
            "--short" => {
                options.rows = 20_000;
                options.rounds = 1;
                options.turn = Duration::from_millis(20);
                options.restarts = 1;
            }
            "--out" => out = Some(PathBuf::from(value()?)),
            "-h" | "--help" => {
                let text = include_str!("main.rs").lines().map_while(|line| line.strip_prefix("//!"));
                text.for_each(|line| println!("{}", line.strip_prefix(' ').unwrap_or(line)));
                return Ok(());
            }
            _ => return Err(format!("no option '{word}'; see --help").into()),
        }
    }
    if let Some(seconds) = seconds {
        options.rounds = crucible::rounds(seconds);
    }
    if options.rows == 0 {
        options.rows = if seconds.is_some() { crucible::ROWS } else { 1_000_000 };
    }
    let circumstances = Circumstances::now(options.rows, options.rounds);
    print!("{}", circumstances.to_table());
    let (name, title, questions, drawing) = if let Some(seconds) = seconds {
        let rows = options.rows;
        let question = crucible::run(&crucible::Options { rows, seconds, mappings })?;
        println!("{}", question.to_table());
        let bars = plot::bars(std::slice::from_ref(&question));
        (["crucible", "crucible"], "Sixteen processes report and search", vec![question], bars)
    } else if let Some(rows_max) = rows_max {
        let scaling = scaling::run(&options, rows_max)?;
        (["scaling", "scaling"], "Rows and sessions", scaling.questions, scaling.plot)
    } else {
        let questions = workloads::run(options)?;
        let bars = plot::bars(&questions);
        (["results", "workloads"], "Workloads beside other engines", questions, bars)
    };
    let Some(dir) = out else { return Ok(()) };
    let [name, plot] = name;
    let file = |name: &str, kind: &str| dir.join(format!("{name}.{kind}"));
    std::fs::create_dir_all(&dir)?;
    std::fs::write(file(name, "json"), figures::to_json(&circumstances, &questions)?)?;
    let preface = format!("{PREFACE}\n\n![the same as a plot]({plot}.svg)");
    std::fs::write(file(name, "md"), figures::to_markdown(title, &preface, &circumstances, &questions))?;
    std::fs::write(file(plot, "svg"), drawing)?;
    println!("written to {}", dir.display());
    Ok(())
}
