//! What was measured, and how it is shown: as tables on the terminal and in Markdown, and as JSON.

use crate::engines::Kind;
use aerostore_bench::turns::{Side as Turns, median, median_ratio};
use serde_json::{Value, json};
use std::fmt::Write;

/// Columns of a table.
const COLUMNS: usize = 7;

/// One engine's answer to a question.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name, or that of something else that is measured.
    pub name: String,
    /// In the question's unit.
    pub value: f64,
    /// p50, p99 and p99.9 of single operations, in nanoseconds.
    pub latency: Option<[u64; 3]>,
    /// Processor time of the worker for each of them, in nanoseconds; not that of a server.
    pub cpu_nanos: Option<f64>,
    /// How many times as good Aerostore is.
    pub ratio: Option<f64>,
    /// Whether it is a bound rather than an engine.
    pub is_bound: bool,
}

/// What was asked, and the answers.
#[derive(Clone, Debug)]
pub struct Question {
    /// The workload's number.
    pub id: &'static str,
    /// What.
    pub title: String,
    /// Of the values.
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// The answers.
    pub figures: Vec<Figure>,
}

impl Figure {
    /// Operations per second in turns.
    pub fn of_turns(name: &str, turns: &Turns, ratio: Option<f64>, is_bound: bool) -> Self {
        Self {
            name: name.to_owned(),
            value: turns.rate(),
            latency: Some([0.5, 0.99, 0.999].map(|share| turns.sampled.quantile(share))),
            cpu_nanos: Some(median(&turns.cpu_nanos)),
            ratio,
            is_bound,
        }
    }
}

impl Question {
    /// Operations per second of engines that took turns, the first of them Aerostore.
    pub fn of_turns(id: &'static str, title: &str, kinds: &[Kind], turns: &[Turns]) -> Self {
        let ours = turns.first().map(|turns| &turns.rates);
        let figure = |(kind, turns): (&Kind, &Turns)| {
            let ratio = ours.map(|ours| median_ratio(ours, &turns.rates));
            Figure::of_turns(kind.name(), turns, ratio, kind.is_bound())
        };
        let figures = kinds.iter().zip(turns).map(figure).collect();
        Self { id, title: title.to_owned(), unit: "operations/s", more_is_better: true, figures }
    }

    /// Adds what else had turns beside them.
    pub fn add_bound(&mut self, name: &str, turns: &Turns) {
        let ours = self.figures.first().map(|figure| figure.value);
        let ratio = ours.map(|ours| ours / turns.rate());
        self.figures.push(Figure::of_turns(name, turns, ratio, true));
    }

    /// Single values, of which Aerostore's is the first.
    pub fn of_values(
        id: &'static str,
        title: &str,
        unit: &'static str,
        more_is_better: bool,
        values: &[(String, f64, bool)],
    ) -> Self {
        let ours = values.first().map_or(0.0, |(_, value, _)| *value);
        let figure = |(name, value, is_bound): &(String, f64, bool)| {
            let ratio = if more_is_better { ours / value } else { value / ours };
            Figure {
                name: name.clone(),
                value: *value,
                latency: None,
                cpu_nanos: None,
                ratio: ratio.is_finite().then_some(ratio),
                is_bound: *is_bound,
            }
        };
        Self {
            id,
            title: title.to_owned(),
            unit,
            more_is_better,
            figures: values.iter().map(figure).collect(),
        }
    }

    fn heading(&self) -> [String; COLUMNS] {
        let head = ["", self.unit, "p50", "p99", "p99.9", "cpu each", "aerostore to it"];
        head.map(str::to_owned)
    }

    fn lines(&self) -> Vec<[String; COLUMNS]> {
        let line = |figure: &Figure| {
            let latency = |at: usize| figure.latency.map_or_else(String::new, |all| in_time(all[at]));
            let ratio = figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let name = if figure.is_bound { format!("({})", figure.name) } else { figure.name.clone() };
            let cpu = figure.cpu_nanos.map_or_else(String::new, |nanos| in_time(nanos as u64));
            [name, in_digits(figure.value), latency(0), latency(1), latency(2), cpu, ratio]
        };
        self.figures.iter().map(line).collect()
    }

    /// Heading and lines, without the columns that nobody has something for.
    fn cells(&self) -> Vec<Vec<String>> {
        let lines = self.lines();
        let is_used = |column: usize| column == 0 || lines.iter().any(|line| !line[column].is_empty());
        let used: Vec<usize> = (0..COLUMNS).filter(|column| is_used(*column)).collect();
        let all = [self.heading()].into_iter().chain(lines);
        all.map(|line| used.iter().map(|column| line[*column].clone()).collect()).collect()
    }

    /// For a terminal.
    pub fn to_table(&self) -> String {
        let lines = self.cells();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
        let mut text = format!("{} {}\n", self.id, self.title);
        for line in &lines {
            let mut row = format!("  {:<width$}", line[0], width = widths[0]);
            for (cell, width) in line.iter().zip(&widths).skip(1) {
                let _ = write!(row, "   {cell:>width$}");
            }
            let _ = writeln!(text, "{}", row.trim_end());
        }
        text
    }

    fn to_markdown(&self) -> String {
        let mut text = format!("## {} {}\n\n", self.id, self.title);
        for (at, line) in self.cells().iter().enumerate() {
            let _ = writeln!(text, "| {} |", line.join(" | "));
            if at == 0 {
                let _ = writeln!(text, "|---|{}", "---:|".repeat(line.len() - 1));
            }
        }
        text.push('\n');
        text
    }

    fn to_json(&self) -> Value {
        let figure = |figure: &Figure| {
            json!({
                "name": figure.name,
                "value": figure.value,
                "p50_ns": figure.latency.map(|all| all[0]),
                "p99_ns": figure.latency.map(|all| all[1]),
                "p999_ns": figure.latency.map(|all| all[2]),
                "worker_cpu_ns": figure.cpu_nanos,
                "aerostore_to_it": figure.ratio,
                "is_bound": figure.is_bound,
            })
        };
        json!({
            "workload": self.id,
            "title": self.title,
            "unit": self.unit,
            "more_is_better": self.more_is_better,
            "figures": self.figures.iter().map(figure).collect::<Vec<_>>(),
        })
    }
}

fn in_digits(value: f64) -> String {
    match value {
        _ if value >= 1000.0 => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    grouped.push('\u{202f}');
                }
                grouped.push(digit);
            }
            grouped
        }
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

fn in_time(nanos: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let nanos = nanos as f64;
    match nanos {
        _ if nanos < 1e3 => format!("{nanos:.0} ns"),
        _ if nanos < 1e4 => format!("{:.2} us", nanos / 1e3),
        _ if nanos < 1e6 => format!("{:.0} us", nanos / 1e3),
        _ => format!("{:.1} ms", nanos / 1e6),
    }
}

/// The machine, the commit and the date, without which no figure means anything.
#[derive(Clone, Debug)]
pub struct Circumstances {
    pub machine: String,
    pub commit: String,
    pub date: String,
    pub load: String,
    pub rows: u32,
    pub rounds: usize,
}

impl Circumstances {
    /// As they are now.
    pub fn now(rows: u32, rounds: usize) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches([' ', '\t', ':', '=']).trim_matches('"').trim().to_owned()
        };
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let kib: u64 = after(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
        let machine = format!(
            "{cpus} x {}, {} GiB, {}, Linux {}",
            after(&read("/proc/cpuinfo"), "model name"),
            kib.div_ceil(1 << 20),
            after(&read("/etc/os-release"), "PRETTY_NAME"),
            read("/proc/sys/kernel/osrelease").trim()
        );
        let said = |program: &str, arguments: &[&str]| {
            let output = std::process::Command::new(program).args(arguments).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
        };
        Self {
            machine,
            commit: said("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            load: read("/proc/loadavg").trim().to_owned(),
            rows,
            rounds,
        }
    }

    fn lines(&self) -> [(&'static str, String); 6] {
        [
            ("machine", self.machine.clone()),
            ("commit", self.commit.clone()),
            ("date", self.date.clone()),
            ("load at the start", self.load.clone()),
            ("rows", self.rows.to_string()),
            ("turns", self.rounds.to_string()),
        ]
    }

    /// For a terminal.
    pub fn to_table(&self) -> String {
        self.lines().map(|(name, value)| format!("{name:<18} {value}\n")).concat()
    }
}

/// Everything as a page.
pub fn to_markdown(
    title: &str,
    preface: &str,
    circumstances: &Circumstances,
    questions: &[Question],
) -> String {
    let mut text = format!("# {title}\n\n{preface}\n\n| | |\n|---|---|\n");
    for (name, value) in circumstances.lines() {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push('\n');
    text.extend(questions.iter().map(Question::to_markdown));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Everything for programs.
pub fn to_json(circumstances: &Circumstances, questions: &[Question]) -> Result<String, serde_json::Error> {
    let mut object = serde_json::Map::new();
    for (name, value) in circumstances.lines() {
        object.insert(name.replace(' ', "_"), value.into());
    }
    object.insert("questions".into(), questions.iter().map(Question::to_json).collect());
    Ok(serde_json::to_string_pretty(&Value::Object(object))? + "\n")
}
