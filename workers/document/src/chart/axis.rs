//! The value axis: round ticks, and a scale from values to pixels.

use crate::Labels;

/// Ticks aimed at; five lines guide the eye without fencing it in.
const TICKS_AIM: f64 = 5.0;

/// Round ticks over a range, and the unit they are shown in.
pub(super) struct Axis {
    /// First tick value.
    pub(super) min: f64,
    /// Last tick value.
    pub(super) max: f64,
    step: f64,
    /// Shown values are true values divided by this.
    pub(super) divisor: f64,
}

impl Axis {
    /// An axis over the values; with `from_zero` it always shows zero, as lengths and areas must.
    pub(super) fn new(values: impl Iterator<Item = f64>, from_zero: bool) -> Self {
        let (mut min, mut max) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        if !min.is_finite() || !max.is_finite() {
            (min, max) = (0.0, 1.0);
        }
        // A line may leave out zero, but only when its changes would otherwise vanish.
        let wide = (max - min) > 0.3 * max.abs().max(min.abs());
        if from_zero || wide || max == min {
            (min, max) = (min.min(0.0), max.max(0.0));
        }
        if max == min {
            max = min + 1.0;
        }
        let step = nice_step((max - min) / TICKS_AIM);
        let largest = max.abs().max(min.abs());
        let divisor = if largest >= 1e10 {
            1e9
        } else if largest >= 1e7 {
            1e6
        } else {
            1.0
        };
        Self { min: (min / step).floor() * step, max: (max / step).ceil() * step, step, divisor }
    }

    /// Values and labels of the ticks, from below.
    pub(super) fn ticks(&self, labels: &Labels) -> Vec<(f64, String)> {
        let shown_step = self.step / self.divisor;
        let decimals = (0..=6).find(|&d| is_whole(shown_step * 10_f64.powi(d))).unwrap_or(6) as usize;
        let count = ((self.max - self.min) / self.step).round() as usize;
        (0..=count)
            .map(|index| {
                let value = self.min + index as f64 * self.step;
                (value, labels.number(value / self.divisor, decimals))
            })
            .collect()
    }

    /// The unit with its prefix, such as `million EUR`.
    pub(super) fn unit(&self, unit: &str, labels: &Labels) -> String {
        let prefix = if self.divisor == 1e9 {
            labels.billion
        } else if self.divisor == 1e6 {
            labels.million
        } else {
            ""
        };
        [prefix, unit].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ")
    }

    /// Share of the axis below a value, 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.min) / (self.max - self.min)
    }
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6 * value.abs().max(1.0)
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| factor * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], from_zero: bool, expected: &[&str]) {
        let axis = Axis::new(values.iter().copied(), from_zero);
        let labels: Vec<String> = axis.ticks(Labels::of("en")).into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, expected, "{values:?}");
    }

    #[test]
    fn ticks_are_round() {
        check(&[0.0, 97.0], true, &["0", "20", "40", "60", "80", "100"]);
        check(&[3.0, 12.4], true, &["0.0", "2.5", "5.0", "7.5", "10.0", "12.5"]);
        check(&[-40.0, 60.0], true, &["−40", "−20", "0", "20", "40", "60"]);
        check(&[0.001, 0.004], true, &["0.000", "0.001", "0.002", "0.003", "0.004"]);
        check(&[25e6, 48e6], true, &["0", "10", "20", "30", "40", "50"]);
    }

    #[test]
    fn degenerate_ranges_have_an_axis() {
        check(&[0.0], true, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(&[5.0], false, &["0", "1", "2", "3", "4", "5"]);
        check(&[-5.0], true, &["−5", "−4", "−3", "−2", "−1", "0"]);
        check(&[], true, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }

    #[test]
    fn a_flat_line_is_magnified() {
        check(&[995.0, 1004.0], false, &["994", "996", "998", "1,000", "1,002", "1,004"]);
    }
}
