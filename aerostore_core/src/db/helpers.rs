//! Threads that help with one scan, and end with it: those of [`Plan`](crate::query::Plan)s that go through a table by several.
//!
//! Rules       H1: each helper has a session of its own, from the pool if one is idle there; it goes back there, whatever happens, when
//!             its thread has ended. Where no session or no thread is to be had, there are fewer helpers. H2: the call
//!             returns when all threads have ended, so what they borrow lives long enough, and neither a handle nor a transaction can
//!             end under them. H3: the first to break, to fail or to panic stops the pass (P4 of `txn::scan`); a panic goes on in the
//!             thread that called, when the others have come to their end. H4: threads are not kept: they cost some tens of
//!             microseconds, and the planner asks for them where they save more.

#![forbid(unsafe_code)]

use crate::db::Error;
use crate::db::database::Inner;
use crate::query::{Helper, Lead, Share};
use crate::row::VisitRows;
use crate::txn::{Pass, Session};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::thread;

/// Shows the rows of a pass, whose reader has `session`, with as many helpers as can be had; see
/// [`RowSource::scan_shared`](crate::query::RowSource).
pub(super) fn show(
    database: &Inner,
    pass: Pass<'_>,
    session: &Session,
    helpers: Vec<Helper<'_, Error>>,
    lead: &mut Lead<'_, Error>,
) -> Result<(), Error> {
    let mut sessions = Sessions::take(database, helpers.len());
    let outcome = thread::scope(|scope| {
        let mut threads = Vec::with_capacity(helpers.len());
        for (who, (helper, session)) in (1..).zip(helpers.into_iter().zip(&mut sessions.sessions)) {
            let pass = &pass;
            let run = move || Place { pass, session, who }.run(|share| helper(share));
            let thread = thread::Builder::new().name("aerostore-scan".to_owned()).spawn_scoped(scope, run);
            threads.extend(thread.ok());
        }
        let first = Place { pass: &pass, session, who: 0 }.run(|share| lead(share));
        threads.into_iter().fold(first, |outcome, thread| match thread.join() {
            Ok(helped) => outcome.and(helped),
            Err(panic) => resume_unwind(panic),
        })
    });
    outcome?;
    Ok(pass.end()?)
}

/// Processors that this process may use. Asked once: to ask takes files to be read.
pub(super) fn processors() -> u32 {
    static COUNT: OnceLock<u32> = OnceLock::new();
    *COUNT.get_or_init(|| {
        thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
    })
}

/// Sessions of helpers, on loan from the pool (H1).
struct Sessions<'d> {
    database: &'d Inner,
    #[expect(clippy::vec_box, reason = "the pool holds them boxed")]
    sessions: Vec<Box<Session>>,
}

impl<'d> Sessions<'d> {
    fn take(database: &'d Inner, most: usize) -> Self {
        Self { database, sessions: (0..most).map_while(|_| database.session().ok()).collect() }
    }
}

impl Drop for Sessions<'_> {
    fn drop(&mut self) {
        self.sessions.drain(..).for_each(|session| self.database.pool().put(session));
    }
}

/// One session's place in a pass.
struct Place<'p> {
    pass: &'p Pass<'p>,
    session: &'p Session,
    who: u32,
}

impl Place<'_> {
    fn run(
        &self,
        job: impl FnOnce(&dyn Share<Error = Error>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        // H3, whether the job comes back or panics.
        let mut stops = Stops(Some(self.pass));
        let outcome = job(self);
        if matches!(outcome, Ok(ControlFlow::Continue(()))) {
            stops.0 = None;
        }
        outcome.map(drop)
    }
}

/// Stops a pass when it goes, unless it was taken out.
struct Stops<'p>(Option<&'p Pass<'p>>);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.0 {
            pass.stop();
        }
    }
}

impl Share for Place<'_> {
    type Error = Error;

    fn parts(&self) -> usize {
        self.pass.parts()
    }

    fn claim(&self, part: usize) -> Option<usize> {
        self.pass.claim(part, self.who).map(|owner| owner as usize)
    }

    fn show(&self, part: usize, visit: &mut VisitRows<'_>) -> Result<ControlFlow<()>, Error> {
        Ok(self.pass.show(self.session, part, visit)?)
    }
}

#[cfg(test)]
#[cfg(not(loom))] // needs an arena
mod tests {
    use super::*;
    use crate::db::{Database, ErrorKind, Table, TxnOptions};
    use crate::epoch::SlotId;
    use crate::row::{Column, ColumnType, RowImage, Schema, Value};
    use std::path::PathBuf;

    fn schema() -> Schema {
        Schema::builder("Cell").column(Column::new("name", ColumnType::I64)).key("name").build().unwrap()
    }

    /// A database of one table, with one row.
    struct Scene {
        db: Database,
        table: Table,
        files: [PathBuf; 2],
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let unique = format!("/dev/shm/aerostore-test-helpers-{name}-{}", std::process::id());
            let files = [PathBuf::from(&unique), PathBuf::from(format!("{unique}.mmap"))];
            let db = Database::builder(&files[0]).shm_path(&files[1]).max_bytes(64 << 20).open().unwrap();
            let table = db.create_table(&schema()).unwrap();
            let scene = Self { db, table, files };
            scene.put();
            scene
        }

        /// Puts the row, or a newer version of it.
        fn put(&self) {
            let mut image = RowImage::new(self.table.schema());
            image.set(self.table.schema(), 0, Value::I64(1)).unwrap();
            image.finish(self.table.schema()).unwrap();
            let mut txn = self.db.begin(TxnOptions::default()).unwrap();
            txn.delete(&self.table, Value::I64(1)).unwrap();
            txn.insert(&self.table, &image).unwrap();
            txn.commit().unwrap();
        }

        fn remove(self) {
            self.db.close().unwrap();
            std::fs::remove_dir_all(&self.files[0]).unwrap();
            std::fs::remove_file(&self.files[1]).unwrap();
        }
    }

    /// Goes through the table with helpers.
    fn scanned(
        name: &str,
        helpers: Vec<Helper<'_, Error>>,
        lead: &mut Lead<'_, Error>,
    ) -> thread::Result<Result<(), Error>> {
        let scene = Scene::new(name);
        let mut txn = scene.db.begin(TxnOptions::default()).unwrap();
        let scan = || txn.scan_shared(&scene.table, None, 0, helpers, lead);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(scan));
        assert_eq!(txn.count(&scene.table).unwrap(), 1, "it goes on");
        drop(txn);
        scene.remove();
        outcome
    }

    /// Comes back when nothing can be claimed any more.
    #[expect(clippy::unnecessary_wraps, reason = "as a helper does")]
    fn until_stopped(share: &dyn Share<Error = Error>) -> Result<ControlFlow<()>, Error> {
        while share.claim(0).is_some() {
            thread::yield_now();
        }
        Ok(ControlFlow::Continue(()))
    }

    #[test]
    fn who_fails_or_breaks_keeps_the_others_from_claiming_more() {
        let fails = || -> Helper<'static, Error> { Box::new(|_| Err(Error::Closed)) };
        let waits = || -> Helper<'static, Error> { Box::new(until_stopped) };
        let outcome = scanned("fails", vec![waits(), fails()], &mut until_stopped).unwrap();
        assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
        let outcome = scanned("breaks", vec![waits(), waits()], &mut |_| Ok(ControlFlow::Break(())));
        outcome.unwrap().unwrap();
    }

    #[test]
    fn a_panic_of_a_helper_keeps_the_others_from_claiming_more_and_goes_on_in_the_caller() {
        let panics: Helper<'static, Error> = Box::new(|_| panic!("a helper has had enough"));
        let waits: Helper<'static, Error> = Box::new(until_stopped);
        let outcome = scanned("panics", vec![panics, waits], &mut until_stopped);
        let panic = outcome.expect_err("a panic");
        assert_eq!(panic.downcast_ref(), Some(&"a helper has had enough"));
    }

    #[test]
    fn a_part_is_shown_by_one_of_all() {
        let seen = std::sync::Mutex::new(Vec::new());
        let shows = |who: usize| {
            let seen = &seen;
            move |share: &dyn Share<Error = Error>| {
                for part in 0..share.parts() {
                    if share.claim(part) == Some(who) {
                        let _ = share.show(part, &mut |rows| {
                            seen.lock().unwrap().extend(rows.iter().map(|row| row.key().as_i64()));
                            ControlFlow::Continue(())
                        })?;
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
        };
        scanned("parts", vec![Box::new(shows(1)), Box::new(shows(2))], &mut shows(0)).unwrap().unwrap();
        assert_eq!(*seen.lock().unwrap(), [Some(1)]);
    }

    /// P3 of `txn::scan`: each helper asks before it shows a row, not only the caller in the end.
    #[test]
    fn a_helper_shows_nothing_at_a_snapshot_that_its_caller_has_no_more() {
        let scene = Scene::new("revoked");
        let mut txn = scene.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
        assert_eq!(txn.count(&scene.table).unwrap(), 1);
        let store = &scene.db.0.store;
        let snapshot = store.clock().now();
        scene.put();
        let helper: Helper<'_, Error> = Box::new(|share| {
            let slots = store.registry().live_slots().unwrap().into_iter();
            let revoked = slots
                .filter(|(owner, ..)| store.registry().slot(SlotId(owner.slot)).unwrap().revoke(snapshot));
            assert_eq!(revoked.count(), 1, "the caller's");
            let error = share.show(0, &mut |_| panic!("a row was shown")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Revoked);
            Ok(ControlFlow::Continue(()))
        });
        let outcome =
            txn.scan_shared(&scene.table, None, 0, vec![helper], &mut |_| Ok(ControlFlow::Continue(())));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Revoked);
        drop(txn);
        scene.remove();
    }
}
