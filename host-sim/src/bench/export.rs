//! Rows for other programs: JSON and CSV.
//!
//! In: rows. Out: their fields, in the order of [`Row`], every digit kept.

use super::Row;
use anyhow::Result;

/// JSON: a version, and the rows as an array.
///
/// # Errors
/// Only in theory: a row has nothing that JSON cannot hold.
pub fn json(rows: &[Row]) -> Result<String> {
    #[derive(serde::Serialize)]
    struct Rows<'r> {
        rows: &'r [Row],
    }
    crate::process::output::json(&Rows { rows })
}

/// A header and a line for each row.
///
/// # Errors
/// Only in theory: all rows have the same fields.
pub fn csv(rows: &[impl serde::Serialize]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
