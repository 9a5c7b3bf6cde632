//! The eleven workloads, on every engine that can do them, in turns.
//!
//! Order       load, check that all answer alike, read (W2, W5, W6, W7), attach (W11), check updates, update (W3, W8), check each engine's
//!             index, restart (W9), and then wait for the disk (W4): so every engine reads the same rows, and nobody's updates
//!             come in the way of what is compared. Bytes (W10) are taken in between.
//! Checks      the same operations with the same seeds give the same sums in every engine, or the run fails.

use crate::disk::{Counted, Device, Disk};
use crate::engines::Kind;
use crate::figures::Question;
use crate::side::{Side, Work};
use crate::task::Task;
use aerostore_bench::flight::Random;
use aerostore_bench::indexed::Failure;
use aerostore_bench::place::Place;
use aerostore_bench::turns::{median, take_turns};
use aerostore_bench::wide::Wide;
use aerostore_bench::worker::Worker;
use std::cell::Cell;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub rows: u32,
    /// Turns of each engine at each question, without the first, which is not counted.
    pub rounds: usize,
    pub turn: Duration,
    /// Restarts.
    pub restarts: usize,
    pub kinds: Vec<Kind>,
    /// Numbers of workloads; all if there are none.
    pub only: Vec<String>,
}

impl Options {
    fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.eq_ignore_ascii_case(id))
    }
}

/// Says on a terminal what is being done.
pub fn tell(what: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        // Nobody minds if it cannot be said.
        let _ = write!(err, "\r\x1b[2K{what}");
        let _ = err.flush();
    }
}

/// Ends that line.
pub fn told() {
    tell("");
}

/// The flights as a file of tab-separated text.
pub struct Text(Place);

impl Text {
    pub fn write(rows: u32) -> Result<Self, Failure> {
        let text = Self(Place::fresh(&format!("rows-{rows}")));
        let mut file = BufWriter::new(File::create(text.path())?);
        for number in 0..rows {
            Wide::new(number).write_tsv(&mut file)?;
        }
        file.flush()?;
        Ok(text)
    }

    pub fn path(&self) -> &Path {
        &self.0.shm
    }
}

/// A question of turns.
struct Asked {
    id: &'static str,
    title: &'static str,
    task: Task,
    workers: usize,
    /// How many times as long as others its turns are.
    lengths: u32,
}

const READS: [Asked; 5] = [
    Asked { id: "W2", title: "read by key, 1 worker", task: Task::Read, workers: 1, lengths: 1 },
    Asked { id: "W2", title: "read by key, 2 workers", task: Task::Read, workers: 2, lengths: 1 },
    Asked { id: "W5", title: "100 lowest rows above an altitude", task: Task::Above, workers: 1, lengths: 1 },
    Asked {
        id: "W6",
        title: "newest 50 of 11 000 rows in a band",
        task: Task::Newest,
        workers: 1,
        lengths: 2,
    },
    Asked {
        id: "W7",
        title: "count by a column without an index",
        task: Task::Count,
        workers: 1,
        lengths: 2,
    },
];

const UPDATES: [Asked; 5] = [
    Asked { id: "W3", title: "update, far away, 1 worker", task: Task::Far, workers: 1, lengths: 2 },
    Asked { id: "W3", title: "update, far away, 2 workers", task: Task::Far, workers: 2, lengths: 2 },
    Asked { id: "W3", title: "update, a little, 1 worker", task: Task::Near, workers: 1, lengths: 2 },
    Asked { id: "W3", title: "update, no index, 1 worker", task: Task::Unindexed, workers: 1, lengths: 1 },
    Asked { id: "W8", title: "two workers, one row", task: Task::Hot, workers: 2, lengths: 1 },
];

/// A run of them.
pub struct Run {
    options: Options,
    sides: Vec<Side>,
    questions: Vec<Question>,
    begin: Instant,
}

/// Runs them, prints what comes of each, and returns it.
pub fn run(options: Options) -> Result<Vec<Question>, Failure> {
    let mut run = Run { options, sides: Vec::new(), questions: Vec::new(), begin: Instant::now() };
    run.load()?;
    run.bytes("after the load")?;
    run.check_reads()?;
    READS.iter().try_for_each(|asked| run.ask(asked))?;
    run.attach()?;
    run.check_updates()?;
    UPDATES.iter().try_for_each(|asked| run.ask(asked))?;
    run.bytes("after the updates")?;
    run.walk()?;
    run.restart()?;
    run.wait_for_the_disk()?;
    told();
    println!("{} s in all", run.begin.elapsed().as_secs());
    Ok(run.questions)
}

/// As a failure that can go from thread to thread.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn plain(error: Box<dyn Error>) -> Failure {
    error.to_string().into()
}

impl Run {
    fn tell(&self, what: &str) {
        tell(&format!("{:>4} s  {what}", self.begin.elapsed().as_secs()));
    }

    fn add(&mut self, question: Question) {
        told();
        println!("{}", question.to_table());
        self.questions.push(question);
    }

    fn load(&mut self) -> Result<(), Failure> {
        self.tell("writing the text");
        let text = Text::write(self.options.rows)?;
        let mut values = Vec::new();
        for kind in self.options.kinds.clone() {
            self.tell(&format!("W1 load: {}", kind.name()));
            let rows = f64::from(self.options.rows);
            let mut side = Side::fresh(kind, self.options.rows)?;
            let rate = rows / side.load(text.path())?.as_secs_f64();
            self.sides.push(side);
            values.push((kind.name().to_owned(), rate, kind.is_bound()));
        }
        if self.options.wants("W1") {
            let title = "load from tab-separated text, six indexes";
            self.add(Question::of_values("W1", title, "rows/s", true, &values));
        }
        Ok(())
    }

    fn bytes(&mut self, when: &str) -> Result<(), Failure> {
        if !self.options.wants("W10") {
            return Ok(());
        }
        let rows = f64::from(self.options.rows);
        let mut values = Vec::new();
        for at in 0..self.sides.len() {
            let kind = self.sides[at].kind;
            self.tell(&format!("W10 {when}: {}", kind.name()));
            let host = self.sides[at].first()?;
            host.ask("settle")?;
            let bytes: f64 = host.ask("bytes")?.parse()?;
            values.push((kind.name().to_owned(), bytes / rows, kind.is_bound()));
        }
        self.add(Question::of_values(
            "W10",
            &format!("memory or files, {when}"),
            "bytes a row",
            false,
            &values,
        ));
        Ok(())
    }

    /// Lets every engine that can do it do the same, and compares the answers.
    fn compare(&mut self, task: Task, count: u32, seed: u64) -> Result<(), Failure> {
        self.tell(&format!("checking {}", task.name()));
        self.compare_answers(&format!("fixed {} {count} {seed}", task.name()), |kind| kind.can(task))
    }

    fn compare_answers(&mut self, order: &str, can: impl Fn(Kind) -> bool) -> Result<(), Failure> {
        let mut first: Option<(&str, String)> = None;
        for side in self.sides.iter_mut().filter(|side| can(side.kind)) {
            let answer = side.first()?.ask(order)?;
            let name = side.kind.name();
            match &first {
                Some((other, known)) if *known != answer => {
                    return Err(format!("{order}: {other} says {known}, {name} says {answer}").into());
                }
                Some(_) => {}
                None => first = Some((name, answer)),
            }
        }
        Ok(())
    }

    fn check_reads(&mut self) -> Result<(), Failure> {
        self.compare(Task::Read, 2000, 1)?;
        self.compare_answers("digest 2000 1", |_| true)?;
        self.compare(Task::Above, 200, 2)?;
        self.compare(Task::Newest, 3, 3)?;
        self.compare(Task::Count, 1, 4)
    }

    /// All columns of the rows that were moved are the same everywhere, and so is what is found by an index.
    fn check_updates(&mut self) -> Result<(), Failure> {
        let is_indexed = |kind: Kind| kind.can(Task::Far);
        for (task, seed) in [(Task::Far, 11), (Task::Near, 12), (Task::Unindexed, 13)] {
            self.compare_answers(&format!("fixed {} 1000 {seed}", task.name()), is_indexed)?;
            self.compare_answers(&format!("digest 1000 {seed}"), is_indexed)?;
        }
        self.compare_answers("fixed above 200 14", is_indexed)?;
        self.compare_answers("fixed newest 3 15", is_indexed)
    }

    /// Every row is found once by an index.
    fn walk(&mut self) -> Result<(), Failure> {
        let rows = self.options.rows;
        for at in 0..self.sides.len() {
            let kind = self.sides[at].kind;
            // The skip lists and their rows are no one thing: two workers on one row leave entries behind.
            if !kind.can(Task::Far) || kind == Kind::SkipSets {
                continue;
            }
            self.tell(&format!("checking the index: {}", kind.name()));
            let answer = self.sides[at].first()?.ask("walk")?;
            if answer.split_whitespace().next().and_then(|count| count.parse().ok()) != Some(rows) {
                return Err(format!("{}: {answer} of {rows} rows found by altitude", kind.name()).into());
            }
        }
        Ok(())
    }

    fn ask(&mut self, asked: &Asked) -> Result<(), Failure> {
        let &Asked { id, title, task, workers, lengths } = asked;
        if !self.options.wants(id) {
            return Ok(());
        }
        self.tell(&format!("{id} {title}"));
        let turn = self.options.turn * lengths;
        let mut sides: Vec<_> = self.sides.iter_mut().filter(|side| side.kind.can(task)).collect();
        let kinds: Vec<Kind> = sides.iter().map(|side| side.kind).collect();
        let mut workers_of = Vec::new();
        for side in &mut sides {
            workers_of.push(side.workers(workers)?);
        }
        let work = Work { task, workers };
        // The first turn touches memory and fills caches.
        take_turns(&mut workers_of, work, 1, turn).map_err(plain)?;
        let turns = take_turns(&mut workers_of, work, self.options.rounds, turn).map_err(plain)?;
        drop(workers_of);
        self.add(Question::of_turns(id, title, &kinds, &turns));
        Ok(())
    }

    fn attach(&mut self) -> Result<(), Failure> {
        if !self.options.wants("W11") {
            return Ok(());
        }
        let mut random = Random::new(11);
        let (rows, rounds) = (self.options.rows, self.options.rounds * 2 + 1);
        self.tell("W11 attach");
        let mut sides: Vec<_> = self.sides.iter_mut().filter(|side| side.kind.has_processes()).collect();
        let mut times = vec![Vec::new(); sides.len()];
        for _ in 0..rounds {
            let number = random.below(rows);
            for (side, times) in sides.iter_mut().zip(&mut times) {
                times.push(side.attach(number)?.as_secs_f64() * 1e6);
            }
        }
        let name = |side: &&mut Side| side.kind.name().to_owned();
        let values: Vec<_> =
            sides.iter().zip(&times).map(|(side, times)| (name(side), median(times), false)).collect();
        let title = "a new process attaches and reads a row, others at work";
        self.add(Question::of_values("W11", title, "us", false, &values));
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Failure> {
        if !self.options.wants("W9") {
            return Ok(());
        }
        let (restarts, rows) = (self.options.restarts, self.options.rows);
        let updates = (rows / 50).min(20_000);
        let mut values = Vec::new();
        for side in self.sides.iter_mut().filter(|side| side.kind.is_database()) {
            let name = side.kind.name();
            let ways: &[(&str, bool)] = if side.kind == Kind::Aerostore {
                &[("", false), (", mapping lost", true)]
            } else {
                &[("", false)]
            };
            for &(way, loses_mapping) in ways {
                let mut times = Vec::new();
                for round in 0..restarts {
                    tell(&format!("{:>4} s  W9 restart: {name}{way}", self.begin.elapsed().as_secs()));
                    side.first()?.ask("settle")?;
                    side.first()?.ask(&format!("fixed far {updates} {}", 100 + round))?;
                    times.push(side.restart(7, loses_mapping)?.as_secs_f64() * 1e3);
                }
                values.push((format!("{name}{way}"), median(&times), false));
            }
        }
        let title = format!("killed {updates} updates after a checkpoint, until a row is read");
        self.add(Question::of_values("W9", &title, "ms", false, &values));
        Ok(())
    }

    fn wait_for_the_disk(&mut self) -> Result<(), Failure> {
        if !self.options.wants("W4") {
            return Ok(());
        }
        self.sides.retain(|side| side.kind.is_database());
        for at in 0..self.sides.len() {
            self.tell(&format!("W4 to disk: {}", self.sides[at].kind.name()));
            self.sides[at].make_durable()?;
        }
        let place = Place::fresh("disk");
        std::fs::create_dir_all(&place.dir)?;
        let device = Device::of(&place.dir)?;
        for workers in [1, 16] {
            let title = format!("update, far away, on disk when it returns, sessions: {workers}");
            self.tell(&format!("W4 {title}"));
            let mut alone = Disk::new(&place.dir.join(workers.to_string()))?;
            let work = Work { task: Task::Far, workers };
            let kinds: Vec<Kind> = self.sides.iter().map(|side| side.kind).collect();
            let written = vec![Cell::new(0); kinds.len()];
            let mut counted = Vec::new();
            for (side, written) in self.sides.iter_mut().zip(&written) {
                let count = |worker| Counted { worker, device, before: 0, written };
                counted.push(side.workers(workers)?.into_iter().map(count).collect::<Vec<_>>());
            }
            let mut sides: Vec<Vec<&mut dyn Worker<Work>>> = counted
                .iter_mut()
                .map(|workers| workers.iter_mut().map(|worker| worker as &mut dyn Worker<Work>).collect())
                .collect();
            sides.push(vec![&mut alone]);
            take_turns(&mut sides, work, 1, self.options.turn).map_err(plain)?;
            for written in &written {
                written.set(0);
            }
            let mut turns =
                take_turns(&mut sides, work, self.options.rounds, self.options.turn * 2).map_err(plain)?;
            drop(sides);
            drop(counted);
            let alone = turns.pop().ok_or("the disk had no turn")?;
            let mut question = Question::of_turns("W4", &title, &kinds, &turns);
            question.add_bound("disk: sync of 4 KiB", &alone);
            self.add(question);
            // Of several workers each would count what all of them wrote.
            if workers == 1 {
                let figures = kinds.iter().zip(&turns).zip(&written);
                let values: Vec<_> = figures
                    .map(|((kind, turns), written)| {
                        let each = written.get() as f64 / turns.operations.max(1) as f64;
                        (kind.name().to_owned(), each, false)
                    })
                    .collect();
                let title = "given to the disk for an update that is on disk when it returns";
                self.add(Question::of_values("W10", title, "bytes an update", false, &values));
            }
        }
        Ok(())
    }
}
