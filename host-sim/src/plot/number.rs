//! Numbers as tables and plots show them.

/// A share as a percentage without needless digits.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", (share * 1e5).round() / 1e3)
}

/// Three digits that count, and at most four decimals.
pub(crate) fn digits(x: f64) -> String {
    // The bounds are where rounding would add a digit.
    let decimals = match x.abs() {
        0.0 => return "0".to_owned(),
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        x if x >= 0.9995 => 2,
        x if x >= 0.099_95 => 3,
        _ => 4,
    };
    format!("{x:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::{digits, percent};

    #[test]
    fn three_digits_count() {
        let shown = [1234.5, 99.96, 12.345, 9.996, 1.0, 0.12345, 0.001_24, 0.0].map(digits);
        assert_eq!(shown, ["1234", "100", "12.3", "10.0", "1.00", "0.123", "0.0012", "0"]);
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!([0.0, 0.05, 0.125, 1.0].map(percent), ["0 %", "5 %", "12.5 %", "100 %"]);
    }
}
