//! Checks every block, row, version and index entry of a database that nobody has open.
//!
//!     cargo run -p aerostore_core --example verify -- DATA_DIRECTORY ?MAPPING_FILE?

use std::env;
use std::process::ExitCode;

use aerostore_core::db::{Database, Error};

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let Some(dir) = words.next() else {
        eprintln!("usage: verify DATA_DIRECTORY ?MAPPING_FILE?");
        return ExitCode::from(2);
    };
    let mut builder = Database::builder(&dir);
    if let Some(shm) = words.next() {
        builder = builder.shm_path(shm);
    }
    match builder.open().and_then(|database| report(&database)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", dir.display());
            ExitCode::from(2)
        }
    }
}

/// Prints what is found; whether all is well.
fn report(database: &Database) -> Result<bool, Error> {
    let report = database.verify()?;
    for problem in &report.problems {
        println!("{problem}");
    }
    let (leaked, dangling) = (report.sweep.leaked.len(), report.sweep.dangling.len());
    println!(
        "{} rows, {} versions, {} index entries; blocks leaked: {leaked}, dangling: {dangling}",
        report.rows, report.versions, report.entries
    );
    let is_clean = report.is_clean();
    database.clone().close()?;
    Ok(is_clean)
}
