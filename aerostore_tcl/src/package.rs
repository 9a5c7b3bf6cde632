//! Puts the package into an interpreter, and takes it out again.
//!
//! Every interpreter gets the command of the table that is always there, and those of all other tables when it calls
//! `aerostore::init`, `define` or `tables`, or is given the package while a database is open. The command of a table that was made since, by
//! another interpreter or another process, comes when it is first used: who is told of a missing command looks for a table of its name,
//! which costs nothing until a command is missing, and needs no word of those who made the table.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use crate::commands::{TableCommand, Watches, admin, define, txn};
use crate::current::Current;
use crate::engine::{self, Open};
use crate::error::{Error, Outcome, finish};
use crate::ffi::{Command, Completion, Interp, Obj};

/// The package's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The table that is there without a definition.
const BUILT_IN_TABLE: &CStr = c"::FlightState";
/// Where an interpreter keeps the names of its table commands.
const TABLES_KEY: &CStr = c"aerostore-tables";

/// Has this package told of missing commands before whoever was told of them until now. It is a Tcl procedure that leaves its place to what is
/// run then: a command of ours in between would keep that from yielding. Interpreters such as safe ones have nobody to tell.
const HEAR_OF_MISSING: &str = "proc ::aerostore::Unknown {earlier args} {
    set command [::aerostore::Missing [lindex $args 0]]
    if {$command ne {}} {
        tailcall $command {*}[lrange $args 1 end]
    }
    if {[namespace which -command [lindex $earlier 0]] eq {}} {
        set word [lindex $args 0]
        return -code error -errorcode [list TCL LOOKUP COMMAND $word] \"invalid command name \\\"$word\\\"\"
    }
    tailcall {*}$earlier {*}$args
}
namespace eval :: {
    if {[lindex [namespace unknown] 0] ne {::aerostore::Unknown}} {
        namespace unknown [list ::aerostore::Unknown [namespace unknown]]
    }
}";
/// Takes that back.
const HEAR_NO_MORE: &str = "namespace eval :: {
    if {[lindex [namespace unknown] 0] eq {::aerostore::Unknown}} {
        namespace unknown [lindex [namespace unknown] 1]
    }
}";

type TableNames = RefCell<Vec<CString>>;

/// Creates the package's commands in the interpreter.
pub(crate) fn install(interp: &Interp) -> Completion {
    finish(interp, try_install(interp))
}

fn try_install(interp: &Interp) -> Outcome {
    create(interp, c"::aerostore::init", admin::init);
    create(interp, c"::aerostore::status", admin::status);
    create(interp, c"::aerostore::tables", define::tables);
    create(interp, c"::aerostore::version", admin::version);
    create(interp, c"::aerostore::get_config", admin::get_config);
    create_transactions(interp);
    if !interp.is_safe() {
        create(interp, c"::aerostore::close", admin::close);
        create(interp, c"::aerostore::checkpoint_now", admin::checkpoint_now);
        create(interp, c"::aerostore::set_config", admin::set_config);
        create(interp, c"::aerostore::alter", define::alter);
        create(interp, c"::aerostore::define", define::define);
        create(interp, c"::aerostore::drop", define::drop);
    }
    create(interp, c"::aerostore::Missing", missing);
    let ensemble = "namespace eval ::aerostore {namespace export {[a-z]*}; namespace ensemble create}";
    if interp.eval(&Obj::string(ensemble)) != Completion::OK
        || interp.eval(&Obj::string(HEAR_OF_MISSING)) != Completion::OK
    {
        return Err(Error::Raised);
    }
    interp.reset_result();
    if interp.attached::<TableNames>(TABLES_KEY).is_none() {
        interp.attach(TABLES_KEY, Rc::new(TableNames::default()));
    }
    create_table(interp, BUILT_IN_TABLE)?;
    if let Ok(open) = engine::database() {
        create_tables(interp, &open)?;
    }
    let version = CString::new(VERSION).unwrap_or_default();
    Ok(interp.provide(c"aerostore", &version))
}

fn create_transactions(interp: &Interp) {
    let create = |name: &CStr, body: fn(&Current, &Interp, &[Obj]) -> Outcome| {
        let current = Current::of(interp);
        create(interp, name, move |interp, words| body(&current, interp, words));
    };
    create(c"::aerostore::transaction", txn::transaction);
    create(c"::aerostore::begin", txn::begin);
    create(c"::aerostore::commit", txn::commit);
    create(c"::aerostore::rollback", txn::rollback);
    create(c"::aerostore::savepoint", |current, interp, words| {
        txn::mark(current, interp, words, Current::savepoint)
    });
    create(c"::aerostore::rollback_to", |current, interp, words| {
        txn::mark(current, interp, words, Current::rollback_to)
    });
    create(c"::aerostore::release", |current, interp, words| {
        txn::mark(current, interp, words, Current::release)
    });
}

/// That there is no table of that name.
pub(crate) fn no_table(name: &str) -> Error {
    Error::new("NOT_FOUND", format!("no table \"{name}\" in this database")).with(name)
}

/// Creates the commands of all tables of the open database, but for those whose names are taken, and deletes those of tables that are
/// dropped; that of the built-in table stays.
pub(crate) fn create_tables(interp: &Interp, open: &Open) -> Result<(), Error> {
    let mut gone = Vec::new();
    table_names(interp)?.borrow_mut().retain(|command| {
        let name = command.to_string_lossy();
        let stays = command.as_c_str() == BUILT_IN_TABLE
            || !matches!(open.database.table(name.trim_start_matches(':')), Ok(None));
        if !stays {
            gone.push(command.clone());
        }
        stays
    });
    for command in gone {
        interp.delete_command(&command);
    }
    for table in open.database.tables()? {
        create_table(interp, &command_name(table.name())?)?;
    }
    Ok(())
}

/// The table's name that a word is: that of its command, with or without the colons of the global namespace.
pub(crate) fn table_name(word: &Obj) -> Result<String, Error> {
    let text = word.text().map_err(|_| Error::value(format!("bad table name \"{}\"", word.quoted())))?;
    let name = text.strip_prefix("::").unwrap_or(&text);
    // As a command such a name would be another one.
    if name.contains("::") || name.starts_with(':') || name.ends_with(':') {
        return Err(Error::value(format!(
            "bad table name \"{}\": it must be that of a command in the global namespace",
            word.quoted()
        )));
    }
    Ok(name.to_owned())
}

/// The full name of a table's command.
fn command_name(table: &str) -> Result<CString, Error> {
    CString::new(format!("::{table}")).map_err(|_| Error::value("a table's name cannot have a NUL"))
}

/// Whether a table of that name can have its command: there is none of that name, or it is the table's.
pub(crate) fn check_free(interp: &Interp, table: &str) -> Result<(), Error> {
    let command = command_name(table)?;
    let is_ours = table_names(interp)?.borrow().contains(&command);
    if is_ours || !interp.has_command(&command) {
        return Ok(());
    }
    Err(Error::new("DUPLICATE", format!("can't define table \"{table}\": there is a command of that name"))
        .with(table))
}

/// `::aerostore::Missing word`: makes the command that a missing one is, if it is that of a table of the open database; its full name, or
/// nothing.
fn missing(interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, word] = words else { return Err(Error::usage(interp, words, 1, c"word")) };
    interp.reset_result();
    let (Ok(open), Ok(name)) = (engine::database(), table_name(word)) else { return Ok(Completion::OK) };
    if let Ok(Some(table)) = open.database.table(&name) {
        let command = command_name(table.name())?;
        create_table(interp, &command)?;
        if interp.has_command(&command) {
            interp.set_result(&Obj::string(&command.to_string_lossy()));
        }
    }
    Ok(Completion::OK)
}

fn table_names(interp: &Interp) -> Result<Rc<TableNames>, Error> {
    let names = interp.attached::<TableNames>(TABLES_KEY);
    names.ok_or_else(|| Error::new("CLOSED", "the package was taken out of this interpreter"))
}

fn create_table(interp: &Interp, command: &CStr) -> Result<(), Error> {
    let names = table_names(interp)?;
    let known = names.borrow().iter().any(|name| name.as_c_str() == command);
    // A command that is there is this table's own, or somebody else's, which a table's name must not take away.
    if !interp.has_command(command) {
        let full_name = command.to_string_lossy();
        let table = TableCommand::new(full_name.trim_start_matches(':'), Current::of(interp));
        create(interp, command, move |interp, words| table.run(interp, words));
        if !known {
            names.borrow_mut().push(command.to_owned());
        }
    }
    Ok(())
}

/// Deletes the package's commands from the interpreter; when it was the last, closes the database.
pub(crate) fn remove(interp: &Interp, last: bool) -> Completion {
    finish(interp, try_remove(interp, last))
}

fn try_remove(interp: &Interp, last: bool) -> Outcome {
    if let Some(names) = interp.attached::<TableNames>(TABLES_KEY) {
        for name in names.take() {
            interp.delete_command(&name);
        }
        interp.detach(TABLES_KEY);
    }
    Current::detach(interp);
    Watches::detach(interp);
    let script = Obj::string("namespace delete ::aerostore; package forget aerostore");
    if interp.eval(&Obj::string(HEAR_NO_MORE)) != Completion::OK || interp.eval(&script) != Completion::OK {
        return Err(Error::Raised);
    }
    if last {
        engine::close()?;
    }
    interp.reset_result();
    Ok(Completion::OK)
}

fn create(interp: &Interp, name: &CStr, body: impl Fn(&Interp, &[Obj]) -> Outcome + 'static) {
    Command::new(move |interp, words| finish(interp, body(interp, words))).create(interp, name);
}
