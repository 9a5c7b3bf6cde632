//! What a program of this folder was called with: `--NAME VALUE` pairs, or that it is to be a process of another one's.

use std::fmt::Display;
use std::str::FromStr;

/// The words behind the program's name.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of this program.
    pub fn of_program() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// What follows `role`, if that is the first word.
    pub fn of_role(&self, role: &str) -> Option<&[String]> {
        let (first, rest) = self.0.split_first()?;
        (first == role).then_some(rest)
    }

    /// The value of `name`, if it is there.
    ///
    /// # Errors
    /// It is there without a value.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        let Some(at) = self.0.iter().position(|word| word == name) else { return Ok(None) };
        let value = self.0.get(at + 1).ok_or_else(|| format!("{name} without a value"))?;
        Ok(Some(value))
    }

    /// The number behind `name`, or `default`.
    ///
    /// # Errors
    /// It is there without a number.
    pub fn number<N: FromStr<Err: Display>>(&self, name: &str, default: N) -> Result<N, String> {
        let Some(text) = self.text(name)? else { return Ok(default) };
        text.parse().map_err(|error| format!("{name} {text}: {error}"))
    }
}
