//! What an operation costs as rows grow, and what sessions do together as they grow in number.
//!
//! Rows        one worker; nanoseconds an operation at the median, from 1 000 rows to `--rows-max`, engines in turns
//! Sessions    operations per second of all together, from 1 to 64 of them, on `--rows` rows, engines in turns

use crate::engines::Kind;
use crate::figures::Question;
use crate::plot::{Line, Panel, lines};
use crate::side::{Side, Work};
use crate::task::Task;
use crate::workloads::{Options, Text, plain, tell, told};
use aerostore_bench::indexed::Failure;
use aerostore_bench::turns::{Side as Turns, take_turns};

/// Engines that are compared as rows grow, and as sessions do.
pub const BY_ROWS: [Kind; 4] = [Kind::Aerostore, Kind::Lmdb, Kind::Sqlite, Kind::Trees];
const BY_SESSIONS: [Kind; 3] = [Kind::Aerostore, Kind::Lmdb, Kind::Postgres];
const TASKS: [(Task, &str); 3] = [
    (Task::Read, "read by key"),
    (Task::Far, "update far away"),
    (Task::Above, "100 lowest rows above an altitude"),
];

/// Tables and a plot.
pub struct Scaling {
    pub questions: Vec<Question>,
    pub plot: String,
}

/// Runs both.
pub fn run(options: &Options, rows_max: u32) -> Result<Scaling, Failure> {
    let mut scaling = Scaling { questions: Vec::new(), plot: String::new() };
    let mut panels: Vec<Panel> =
        TASKS.iter().map(|(_, title)| panel(title, "rows", "ns at the median")).collect();
    let counts = std::iter::successors(Some(1000_u32), |rows| rows.checked_mul(10));
    for rows in counts.take_while(|rows| *rows <= rows_max) {
        let mut sides = loaded(&BY_ROWS, rows)?;
        for ((task, title), panel) in TASKS.into_iter().zip(&mut panels) {
            tell(&format!("{rows} rows, {title}"));
            let turns = turns(&mut sides, Work { task, workers: 1 }, options)?;
            for (line, turns) in panel.lines.iter_mut().zip(&turns) {
                line.points.push((f64::from(rows), turns.sampled.quantile(0.5) as f64));
            }
            scaling.add("rows", &format!("{title}, {rows} rows"), &BY_ROWS, &turns);
        }
    }
    let mut sides = loaded(&BY_SESSIONS, options.rows)?;
    for (task, title) in [TASKS[0], TASKS[1]] {
        let mut panel = Panel { lines: named(&BY_SESSIONS), ..panel(title, "sessions", "operations/s") };
        for sessions in [1, 2, 4, 8, 16, 32, 64] {
            tell(&format!("{sessions} sessions, {title}"));
            let turns = turns(&mut sides, Work { task, workers: sessions }, options)?;
            for (line, turns) in panel.lines.iter_mut().zip(&turns) {
                line.points.push((sessions as f64, turns.rate()));
            }
            scaling.add("sessions", &format!("{title}, {sessions} sessions"), &BY_SESSIONS, &turns);
        }
        panels.push(panel);
    }
    scaling.plot = lines(&panels);
    Ok(scaling)
}

impl Scaling {
    fn add(&mut self, id: &'static str, title: &str, kinds: &[Kind], turns: &[Turns]) {
        let question = Question::of_turns(id, title, kinds, turns);
        told();
        println!("{}", question.to_table());
        self.questions.push(question);
    }
}

fn named(kinds: &[Kind]) -> Vec<Line> {
    kinds.iter().map(|kind| Line { name: kind.name().to_owned(), points: Vec::new() }).collect()
}

fn panel(title: &str, x_title: &str, y_title: &str) -> Panel {
    let [title, x_title, y_title] = [title, x_title, y_title].map(str::to_owned);
    Panel { title, x_title, y_title, lines: named(&BY_ROWS) }
}

fn loaded(kinds: &[Kind], rows: u32) -> Result<Vec<Side>, Failure> {
    tell(&format!("loading {rows} rows"));
    let text = Text::write(rows)?;
    let mut sides = Vec::new();
    for &kind in kinds {
        let mut side = Side::fresh(kind, rows)?;
        side.load(text.path())?;
        sides.push(side);
    }
    Ok(sides)
}

fn turns(sides: &mut [Side], work: Work, options: &Options) -> Result<Vec<Turns>, Failure> {
    let mut workers = Vec::new();
    for side in sides {
        workers.push(side.workers(work.workers)?);
    }
    // The first turn touches memory and fills caches.
    take_turns(&mut workers, work, 1, options.turn).map_err(plain)?;
    take_turns(&mut workers, work, options.rounds, options.turn).map_err(plain)
}
