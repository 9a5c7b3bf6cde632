//! `watch`: a script for every change that any process commits to a table, run by the event loop.
//!
//! A subscription of the engine buffers the changes and wakes the interpreter's thread when there are some; a handler in the event loop takes
//! them out, some at a time, so that other events come in between. Nothing is polled.
//!
//! Rules       W1: the changes of a commit lie in the watch until their scripts are run, each taken out just before its own is. So an event loop
//!             within a script goes on with the next one, and whoever began it behind that. W2: the handler is alerted before each script is run: an event loop
//!             within finds it. W3: of scripts within scripts there are at most so many; the event loop of the innermost finds nothing more of the
//!             watch, and the outer ones go on later.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::rc::{Rc, Weak};
use std::vec;

use aerostore_core::db::{Event, RowChange, Subscription};
use aerostore_core::row::RowView;

use super::table::{Bound, Opened};
use crate::convert;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Handler, Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// What `watch` takes besides a script.
    WatchOption, c"option", {
        Buffer = c"-buffer",
        Columns = c"-columns",
        Compare = c"-compare",
    }
}

/// Where an interpreter keeps its watches.
const KEY: &CStr = c"aerostore-watches";
/// Events that a handler takes out before others have their turn.
const TURN: usize = 100;
/// Scripts of one watch within each other (W3): few enough for Tcl's limit of nested evaluations and for the stack.
const DEPTH_MAX: u32 = 32;

/// What an interpreter watches, by number.
#[derive(Default)]
pub(crate) struct Watches {
    last: Cell<u64>,
    running: RefCell<BTreeMap<u64, Rc<Watch>>>,
}

/// One table that an interpreter watches.
struct Watch {
    bound: Rc<Bound>,
    script: Obj,
    /// The commit that is being told: its timestamp, and what is left of it (W1).
    commit: RefCell<(u64, vec::IntoIter<RowChange>)>,
    /// Scripts of it that run.
    depth: Cell<u32>,
    // In this order: who is woken goes after who wakes.
    subscription: Subscription,
    handler: Handler,
}

/// What a script is run for.
enum News {
    Change(u64, RowChange),
    /// Up to this timestamp.
    Gap(u64),
    End,
}

impl Watches {
    /// The interpreter's own.
    fn of(interp: &Interp) -> Rc<Self> {
        interp.attached(KEY).unwrap_or_else(|| {
            let watches = Rc::new(Self::default());
            interp.attach(KEY, Rc::clone(&watches) as Rc<_>);
            watches
        })
    }

    /// Ends all of them, as when the interpreter goes, also for a script of theirs that runs.
    pub(crate) fn detach(interp: &Interp) {
        let ended = interp.attached::<Self>(KEY).map(|watches| watches.running.take());
        interp.detach(KEY);
        drop(ended);
    }

    /// Takes events out, and runs the script for each; true when there may be more.
    fn turn(&self, interp: &Interp, number: u64) -> bool {
        for _ in 0..TURN {
            // Asked for again each time: a script may end it, delete its interpreter, or run an event loop of its own.
            if interp.is_deleted() {
                return false;
            }
            let Some(watch) = self.running.borrow().get(&number).map(Rc::clone) else { return false };
            if watch.depth.get() >= DEPTH_MAX {
                return false; // W3
            }
            let Some(news) = watch.next() else { return false };
            if let News::End = news {
                self.running.borrow_mut().remove(&number);
            } else {
                watch.handler.alert().send(); // W2
            }
            watch.depth.set(watch.depth.get() + 1);
            watch.tell(interp, &news);
            watch.depth.set(watch.depth.get() - 1);
        }
        true
    }
}

impl Watch {
    /// What comes next, if it is there.
    fn next(&self) -> Option<News> {
        let (commit_ts, changes) = &mut *self.commit.borrow_mut();
        loop {
            if let Some(change) = changes.next() {
                return Some(News::Change(*commit_ts, change));
            }
            match self.subscription.try_next() {
                Ok(None) => return None,
                Ok(Some(Event::Commit(commit))) => {
                    (*commit_ts, *changes) = (commit.commit_ts, commit.changes.into_iter());
                }
                Ok(Some(Event::Gap(gap))) => return Some(News::Gap(gap.to_ts)),
                Ok(Some(_)) => {}
                Err(_) => return Some(News::End),
            }
        }
    }

    fn tell(&self, interp: &Interp, news: &News) {
        let short = |what, ts| [Obj::string(what), Obj::empty(), Obj::empty(), Obj::empty(), Obj::count(ts)];
        let words = match news {
            News::Change(commit_ts, change) => self.words_of(*commit_ts, change),
            News::Gap(to_ts) => short("gap", *to_ts),
            News::End => short("end", 0),
        };
        interp.run_callback(&self.script, &words);
    }

    fn words_of(&self, commit_ts: u64, change: &RowChange) -> [Obj; 5] {
        let columns: Vec<usize> = change.columns().collect();
        let values = |row: Option<RowView<'_>>| {
            row.map_or_else(Obj::empty, |row| self.bound.pairs(row, &columns, true))
        };
        [
            Obj::string(change.op().as_str()),
            convert::write(change.key()),
            values(change.before()),
            values(change.after()),
            Obj::count(commit_ts),
        ]
    }
}

/// `watch ?-option value ...? script`
pub(super) fn watch(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let Some(([script], mut options)) = words[2..].split_last_chunk().map(|(rest, last)| (last, rest)) else {
        return Err(Error::usage(interp, words, 2, c"?-option value ...? script"));
    };
    let bound = &table.bound;
    let mut builder = table.open.database.watch(&bound.table);
    let mut columns = bound.all_columns().to_vec();
    while let [name, rest @ ..] = options {
        let option = WatchOption::find(interp, name)?;
        let [value, rest @ ..] = rest else {
            return Err(Error::usage(interp, words, 2, c"?-option value ...? script"));
        };
        options = rest;
        match option {
            WatchOption::Compare => {
                builder = builder.filter(super::search::compare_list(table, interp, value)?);
            }
            WatchOption::Columns => columns = bound.columns(&value.items(interp).map_err(Error::syntax)?)?,
            WatchOption::Buffer => {
                builder = builder.buffer_bytes(
                    usize::try_from(super::search::count("buffer", value)?).unwrap_or(usize::MAX),
                );
            }
        }
    }
    let builder = builder.columns(columns.into_iter().map(|index| bound.schema.column(index).name()));
    let watches = Watches::of(interp);
    let number = watches.last.get() + 1;
    let handler = {
        let watches: Weak<Watches> = Rc::downgrade(&watches);
        Handler::new(interp, move |interp| {
            watches.upgrade().is_some_and(|watches| watches.turn(interp, number))
        })
    };
    let alert = handler.alert();
    let subscription = builder.on_ready(move || alert.send()).subscribe()?;
    watches.last.set(number);
    let watch = Watch {
        bound: Rc::clone(bound),
        script: script.clone(),
        commit: RefCell::new((0, Vec::new().into_iter())),
        depth: Cell::new(0),
        subscription,
        handler,
    };
    watches.running.borrow_mut().insert(number, Rc::new(watch));
    reply(interp, &Obj::string(&token(number)))
}

/// `unwatch token`
pub(super) fn unwatch(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _, given] = words else { return Err(Error::usage(interp, words, 2, c"token")) };
    let watches = Watches::of(interp);
    let text = String::from_utf8_lossy(given.bytes());
    let number = text.strip_prefix(TOKEN).and_then(|digits| digits.parse().ok());
    let mut running = watches.running.borrow_mut();
    let found = number.filter(|number| {
        *text == token(*number)
            && running.get(number).is_some_and(|watch| watch.bound.table.id() == table.bound.table.id())
    });
    let watch = found.and_then(|number| running.remove(&number)).ok_or_else(|| {
        let message = format!(
            "table \"{}\" has no watch \"{}\" in this interpreter",
            table.bound.schema.name(),
            given.quoted()
        );
        Error::new("NOT_FOUND", message).with(text.as_ref())
    })?;
    drop(running);
    drop(watch);
    reply(interp, &Obj::empty())
}

/// How tokens begin.
const TOKEN: &str = "watch";

fn token(number: u64) -> String {
    format!("{TOKEN}{number}")
}
