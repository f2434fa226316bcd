//! From values to a share of an axis, and the ticks that are written at it.
//!
//! In: the least and the greatest value. Out: [`Axis`]. Knows nothing of pixels or of what is plotted.

/// From this many powers of ten on, only they are labelled, and not 2 and 5 times as much.
const MANY_DECADES: f64 = 2.0;

/// One axis: where its values are, from 0 to 1, and what is written at it.
pub(crate) struct Axis {
    /// What its values are.
    pub label: String,
    /// The values that have a line, and their names; lesser lines have none.
    pub ticks: Vec<(f64, String)>,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Axis {
    /// From 0 to a little above `most`; ticks at multiples of 1, 2 or 5.
    pub fn linear(label: &str, most: f64, unit: &str) -> Self {
        let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
        let rough = most / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|s| s * power >= rough * 0.999);
        let step = step.unwrap_or(10.0) * power;
        let count = (most / step - 1e-9).ceil();
        let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let ticks = (0..=count as usize).map(|at| at as f64 * step);
        let ticks = ticks.map(|value| (value, format!("{value:.decimals$}{unit}"))).collect();
        Self { label: label.to_owned(), ticks, from: 0.0, to: count * step, logarithmic: false }
    }

    /// From a little below `least` to a little above `most`; ticks at multiples of 1, 2 or 5.
    pub fn between(label: &str, least: f64, most: f64) -> Self {
        let sound = least.is_finite() && most.is_finite() && most > least;
        let (least, most) =
            if sound { (least, most) } else { (most.max(0.0), most.max(0.0) + 1.0) };
        let span = Self::linear(label, most - least, "");
        let step = span.ticks.get(1).map_or(1.0, |tick| tick.0);
        let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let (first, last) = ((least / step + 1e-9).floor(), (most / step - 1e-9).ceil());
        let ticks = (first as i64..=last as i64).map(|at| at as f64 * step);
        let ticks = ticks.map(|value| (value, format!("{value:.decimals$}"))).collect();
        Self { ticks, from: first * step, to: last * step, ..span }
    }

    /// Milliseconds from `least` to `most`, logarithmic; ticks at 1, 2 and 5 of each power of ten.
    pub fn time(label: &str, least: f64, most: f64) -> Self {
        let sound = least > 0.0 && most > least && most.is_finite();
        let (least, most) = if sound { (least, most) } else { (0.1, 1.0) };
        let (from, to) = (least.log10(), most.log10());
        let powers = (from.floor() as i32)..=(to.ceil() as i32);
        let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| (power, digit)));
        let ticks = ticks.map(|(power, digit)| {
            let named = digit == 1.0 || to - from < MANY_DECADES;
            let value = digit * 10_f64.powi(power);
            (value, if named { duration(value) } else { String::new() })
        });
        let inside = ticks.filter(|(value, _)| (from..=to).contains(&value.log10()));
        Self { label: label.to_owned(), ticks: inside.collect(), from, to, logarithmic: true }
    }

    /// From 1 to `most`, logarithmic; ticks at powers of two.
    pub fn doubling(label: &str, most: usize) -> Self {
        let ticks = (0..=most.max(2).ilog2()).map(|power| 1_usize << power);
        let ticks = ticks.map(|value| (value as f64, value.to_string())).collect();
        let to = (most.max(2) as f64).log10();
        Self { label: label.to_owned(), ticks, from: 0.0, to, logarithmic: true }
    }

    /// One place for each name, from 0.5 on.
    pub fn names(label: &str, names: impl IntoIterator<Item = String>) -> Self {
        let names = names.into_iter().enumerate();
        let ticks: Vec<_> = names.map(|(at, name)| (at as f64 + 0.5, name)).collect();
        let to = ticks.len().max(1) as f64;
        Self { label: label.to_owned(), ticks, from: 0.0, to, logarithmic: false }
    }

    /// From 0 to `most`, in quarters.
    pub fn count(label: &str, most: usize) -> Self {
        let ticks = (0..=4).map(|quarter| most * quarter / 4);
        let ticks = ticks.map(|value| (value as f64, value.to_string())).collect();
        let to = most.max(1) as f64;
        Self { label: label.to_owned(), ticks, from: 0.0, to, logarithmic: false }
    }

    /// The other way round.
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }

    /// Where a value is, from 0 to 1; what is beyond an end is there.
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

/// Milliseconds in the unit that needs no decimals.
fn duration(ms: f64) -> String {
    let (count, unit) = match ms {
        999.5.. => (ms / 1e3, "s"),
        0.9995.. => (ms, "ms"),
        0.000_999_5.. => (ms * 1e3, "µs"),
        _ => (ms * 1e6, "ns"),
    };
    format!("{count:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use super::Axis;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers_of_what_the_axis_spans() {
        assert_eq!(names(&Axis::linear("", 7.3, " %")), ["0 %", "2 %", "4 %", "6 %", "8 %"]);
        assert_eq!(names(&Axis::linear("", 0.04, "")), ["0.00", "0.01", "0.02", "0.03", "0.04"]);
        assert_eq!(names(&Axis::between("", 4.21, 5.9)), ["4.0", "4.5", "5.0", "5.5", "6.0"]);
        assert_eq!(names(&Axis::between("", 120.0, 800.0)), ["0", "200", "400", "600", "800"]);
        assert_eq!(names(&Axis::time("", 0.15, 3.0)), ["200 µs", "500 µs", "1 ms", "2 ms"]);
        assert_eq!(names(&Axis::time("", 0.5, 60.0)), ["", "1 ms", "", "", "10 ms", "", ""]);
        assert_eq!(names(&Axis::time("", 4e-6, 2e-5)), ["5 ns", "10 ns", "20 ns"]);
        assert_eq!(names(&Axis::doubling("", 5)), ["1", "2", "4"]);
        assert_eq!(names(&Axis::count("", 256)), ["0", "64", "128", "192", "256"]);
    }

    #[test]
    fn a_value_has_its_place_and_what_is_beyond_has_the_end() {
        let time = Axis::time("", 0.1, 10.0);
        assert_eq!([0.0, 0.1, 1.0, 10.0, 1e9].map(|ms| time.place(ms)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        let down = Axis::count("", 8).reversed();
        assert_eq!([0.0, 2.0, 8.0].map(|value| down.place(value)), [1.0, 0.75, 0.0]);
    }

    #[test]
    fn an_axis_of_nothing_still_has_places() {
        let nothing = (f64::INFINITY, 0.0);
        for axis in [
            Axis::linear("", 0.0, ""),
            Axis::between("", nothing.0, nothing.1),
            Axis::between("", 3.0, 3.0),
            Axis::time("", f64::INFINITY, f64::NEG_INFINITY),
        ] {
            assert!((0.0..=1.0).contains(&axis.place(0.3)) && !axis.ticks.is_empty());
        }
    }
}
