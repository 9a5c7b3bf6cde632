//! `write_tabsep` and `read_tabsep`: rows to a channel and back; `-write_tabsep` of a search writes the same.

mod options;
mod read;
mod sheet;
mod write;

pub(super) use options::{SheetOption, SheetOptions, quoting, separator};
pub(super) use read::read;
pub(super) use sheet::Sheet;
pub(super) use write::write;
