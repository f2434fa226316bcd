//! Milliseconds on a logarithmic axis.
//!
//! In: the least and the greatest time of each panel. Out: a [`Scale`] for each, with as many
//! pixels for a factor of ten on all of them. Knows nothing of what is drawn.

/// Least factor that an axis spans.
const LEAST_DECADES: f64 = 0.7;
/// Pixels for a factor of ten from which on 2 and 5 are labelled too.
const ROOMY: f64 = 150.0;

/// From milliseconds to pixels, 0 at the left end of the axis.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Logarithm of the time at the left end.
    start: f64,
    decades: f64,
    width: f64,
}

/// A line of the grid.
pub struct Tick {
    pub x: f64,
    /// What is written below; nothing at lesser ticks.
    pub label: Option<String>,
}

/// Scales of `width` pixels for panels that show times of these ranges. A range without times
/// is `(inf, -inf)` and gets the least one.
pub fn scales(ranges: &[(f64, f64)], width: f64) -> Vec<Scale> {
    let logs = ranges.iter().map(|&(least, greatest)| {
        if least <= greatest { (least.log10(), greatest.log10()) } else { (-1.0, -1.0) }
    });
    let logs: Vec<(f64, f64)> = logs.collect();
    let widest = logs.iter().map(|(from, to)| to - from).fold(LEAST_DECADES, f64::max);
    // A little air beside the first bar.
    let air = 0.02 * widest;
    let scale =
        |&(start, _): &(f64, f64)| Scale { start: start - air, decades: widest + air, width };
    logs.iter().map(scale).collect()
}

impl Scale {
    /// Where a time is; what is beyond an end is there.
    pub fn x(&self, ms: f64) -> f64 {
        ((ms.log10() - self.start) * self.pixels()).clamp(0.0, self.width)
    }

    /// Pixels for a factor of ten.
    fn pixels(&self) -> f64 {
        self.width / self.decades
    }

    /// Ticks at 1, 2 and 5 of every power of ten on the axis.
    pub fn ticks(&self) -> Vec<Tick> {
        let end = self.start + self.decades;
        let powers = (self.start.floor() as i32)..=(end.ceil() as i32);
        let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| (power, digit)));
        let inside = ticks.filter(|&(power, digit): &(i32, f64)| {
            (self.start..=end).contains(&(f64::from(power) + digit.log10()))
        });
        inside
            .map(|(power, digit)| {
                let ms = digit * 10f64.powi(power);
                let label = digit == 1.0 || self.pixels() >= ROOMY;
                Tick { x: self.x(ms), label: label.then(|| duration(power, digit)) }
            })
            .collect()
    }
}

/// `digit * 10^power` milliseconds in the unit that needs no decimals.
fn duration(power: i32, digit: f64) -> String {
    let (power, unit) = match power {
        3.. => (power - 3, "s"),
        0..3 => (power, "ms"),
        -3..0 => (power + 3, "µs"),
        _ => (power + 6, "ns"),
    };
    format!("{} {unit}", digit * 10f64.powi(power))
}
