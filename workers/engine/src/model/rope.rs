//! Rotary position embeddings (Su et al. 2021) with the scalings that Llama 3 and GGUF files use.
//!
//! Angles are computed for the rows of a step, not stored per position: that is a few
//! microseconds, while a table for a long context is megabytes. Called by `decoder`.

/// Stretching of frequencies for long contexts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RopeScaling {
    /// As trained.
    None,
    /// All frequencies divided by one factor.
    Linear { factor: f32 },
    /// Low frequencies divided by `factor`, high ones kept, a ramp between (Llama 3.1).
    Llama3 { factor: f32, low_freq_factor: f32, high_freq_factor: f32, original_context: f32 },
    /// One divisor per frequency, as stored in GGUF files.
    Factors(Vec<f32>),
}

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RopePairs {
    /// `(i, i + d/2)`: Hugging Face checkpoints, and GGUF files except `llama`.
    Halves,
    /// `(2i, 2i + 1)`: GGUF files of architecture `llama`, whose rows are permuted for it.
    Adjacent,
}

/// Frequencies of one model.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    inv_freq: Vec<f32>,
    pairs: RopePairs,
}

impl Rope {
    /// Frequencies `theta^(-2i/d)`, scaled.
    pub fn new(theta: f32, head_dim: usize, scaling: &RopeScaling, pairs: RopePairs) -> Self {
        let half = head_dim / 2;
        let inv_freq = (0..half)
            .map(|i| {
                let freq = 1.0 / theta.powf(2.0 * i as f32 / head_dim as f32);
                match scaling {
                    RopeScaling::None => freq,
                    RopeScaling::Linear { factor } => freq / factor,
                    RopeScaling::Factors(factors) => freq / factors.get(i).copied().unwrap_or(1.0),
                    RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                        let turns = original_context * freq / std::f32::consts::TAU;
                        if turns < *low_freq_factor {
                            freq / factor
                        } else if turns > *high_freq_factor {
                            freq
                        } else {
                            let ramp = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                            (1.0 - ramp) * freq / factor + ramp * freq
                        }
                    }
                }
            })
            .collect();
        Self { inv_freq, pairs }
    }

    /// Radians per position, one for each pair.
    #[cfg(any(test, feature = "cuda"))]
    pub fn frequencies(&self) -> &[f32] {
        &self.inv_freq
    }

    /// Appends cosines, then sines, of one position: `head_dim` floats in all.
    pub fn angles(&self, position: usize, out: &mut Vec<f32>) {
        let angle = |freq: &f32| position as f32 * freq;
        out.extend(self.inv_freq.iter().map(|f| angle(f).cos()));
        out.extend(self.inv_freq.iter().map(|f| angle(f).sin()));
    }

    /// Rotates all heads of one row, `[heads, head_dim]`, by `angles` of its position.
    pub fn rotate(&self, row: &mut [f32], angles: &[f32]) {
        let half = self.inv_freq.len();
        let (cos, sin) = angles.split_at(half);
        for head in row.chunks_exact_mut(2 * half) {
            match self.pairs {
                RopePairs::Halves => {
                    let (a, b) = head.split_at_mut(half);
                    for (((a, b), c), s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                    }
                }
                RopePairs::Adjacent => {
                    for ((pair, c), s) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                        (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[1] * c + pair[0] * s);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_zero_changes_nothing_and_lengths_are_kept() {
        for pairs in [RopePairs::Halves, RopePairs::Adjacent] {
            let rope = Rope::new(10_000.0, 4, &RopeScaling::None, pairs);
            let original = [1.0, 2.0, 3.0, 4.0];
            for position in [0, 5] {
                let (mut row, mut angles) = (original, Vec::new());
                rope.angles(position, &mut angles);
                rope.rotate(&mut row, &angles);
                assert_eq!(row == original, position == 0);
                let square = |v: [f32; 4]| v.iter().map(|x| x * x).sum::<f32>();
                assert!((square(row) - square(original)).abs() < 1e-4);
            }
        }
    }
}
