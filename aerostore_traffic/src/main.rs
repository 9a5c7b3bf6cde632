//! `aerostore-traffic`: writes flight positions as tab-separated values.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use aerostore_traffic::{Options, Report, Reports, UniqueFlights, tsv};

const HELP: &str = "\
aerostore-traffic: flight positions as tab-separated values, the same for the same options on every machine

Usage: aerostore-traffic --reports N | --unique N  [options]

  --reports N     N position reports, in time order, of many flights
  --unique N      N rows, each of a different flight (at most 4294967295)

  --flights F     flights in the air at the same time, for --reports (1200)
  --seed S        another seed, another sky (1)
  --start T       time of the first report, Unix seconds (1700000000)
  --interval S    seconds between two reports of one flight (10)
  --missing K     reports of a thousand that lack a value (20)
  --header        begin with a line of column names
  --output FILE   write there instead of to the standard output
  -h, --help      this text

Columns: flight_id lat lon altitude gs updated_at (degrees, feet, knots, Unix seconds; empty: not known).
";

#[derive(Default)]
struct Request {
    reports: Option<u64>,
    unique: Option<u64>,
    options: Options,
    header: bool,
    output: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        return finish(io::stdout().write_all(HELP.as_bytes()));
    }
    let request = match parse(&arguments) {
        Ok(request) => request,
        Err(message) => {
            eprintln!("aerostore-traffic: {message}\nTry 'aerostore-traffic --help'.");
            return ExitCode::from(2);
        }
    };
    finish(run(&request))
}

fn finish(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as in `aerostore-traffic --unique 1000000 | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aerostore-traffic: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<Request, String> {
    let mut request = Request::default();
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        if name == "--header" {
            request.header = true;
            continue;
        }
        let known = [
            "--reports",
            "--unique",
            "--flights",
            "--seed",
            "--start",
            "--interval",
            "--missing",
            "--output",
        ];
        if !known.contains(&name.as_str()) {
            return Err(format!("unknown option '{name}'"));
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--reports" => request.reports = Some(number(name, value)?),
            "--unique" => request.unique = Some(number(name, value)?),
            "--flights" => request.options.flights = number(name, value)?,
            "--seed" => request.options.seed = number(name, value)?,
            "--start" => request.options.start = number(name, value)?,
            "--interval" => request.options.interval_seconds = number(name, value)?,
            "--missing" => request.options.missing_per_thousand = number(name, value)?,
            _ => request.output = Some(value.clone()),
        }
    }
    match (request.reports, request.unique) {
        (None, None) => Err("say --reports N or --unique N".to_owned()),
        (Some(_), Some(_)) => Err("--reports and --unique exclude each other".to_owned()),
        (None, Some(count)) if count > u64::from(u32::MAX) => {
            Err(format!("--unique {count}: at most {}", u32::MAX))
        }
        _ => Ok(request),
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{name} {value}: not a number it can take"))
}

fn run(request: &Request) -> io::Result<()> {
    let mut output: Box<dyn Write> = match &request.output {
        Some(path) => Box::new(File::create(path).map_err(|error| named(path, &error))?),
        None => Box::new(io::stdout().lock()),
    };
    if request.header {
        output.write_all(tsv::HEADER)?;
    }
    match (request.reports, request.unique) {
        (Some(count), _) => write_all(Reports::new(&request.options), count, &mut output),
        (_, Some(count)) => write_all(UniqueFlights::new(&request.options), count, &mut output),
        (None, None) => Ok(()),
    }
}

fn named(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// Writes the first `count` reports in pieces that fit a cache.
fn write_all(reports: impl Iterator<Item = Report>, count: u64, output: &mut dyn Write) -> io::Result<()> {
    const PIECE_BYTES: usize = 64 * 1024;
    let mut piece = Vec::with_capacity(PIECE_BYTES + 256);
    let mut left = count;
    for report in reports {
        if left == 0 {
            break;
        }
        left -= 1;
        tsv::write(&report, &mut piece);
        if piece.len() >= PIECE_BYTES {
            output.write_all(&piece)?;
            piece.clear();
        }
    }
    output.write_all(&piece)?;
    output.flush()
}
