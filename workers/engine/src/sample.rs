//! Drawing the next token.
//!
//! Invariant: the result depends on logits, settings, seed and what the constraint refuses, not
//! on the batch. Refused candidates are struck out and the rest drawn again, so a large
//! vocabulary is not tested token by token. Owned by a sequence in `engine`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::job::Sampling;
use crate::runner::Best;

/// Candidates this much below the best (in units of temperature) have no mass worth drawing.
const LOGIT_RANGE: f32 = 25.0;
/// How many of the best are tried before all are sorted.
const BEST_FIRST: usize = 128;

/// Refused draws after which all candidates that are left are tested at once: striking out one by one takes time in the square
/// of their number where most of a large vocabulary is refused.
const STRIKES_MAX: usize = 64;

/// The random state of one sequence.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    rng: ChaCha8Rng,
    temperature: f32,
    top_p: f32,
}

impl Sampler {
    /// Same seed, same draws.
    pub fn new(sampling: &Sampling) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(sampling.seed),
            temperature: sampling.temperature,
            top_p: sampling.top_p,
        }
    }

    /// Draws a token that `allowed` accepts; `None` when it accepts none.
    ///
    /// Temperature 0 takes the best. Else the draw is from the nucleus (Holtzman et al. 2020),
    /// renormalised over what is allowed; outside it the best allowed token is taken.
    pub fn choose(&mut self, logits: &[f32], mut allowed: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.temperature > 0.0
            && let Some(token) = self.draw(logits, &mut allowed)
        {
            return Some(token);
        }
        best(logits, allowed)
    }

    /// At which it draws; 0 takes the best.
    pub fn temperature(&self) -> f32 {
        self.temperature
    }

    /// The same from the likeliest tokens alone; `None` when they do not decide it.
    pub fn choose_best(&mut self, best: &Best, mut allowed: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.temperature > 0.0 {
            let nucleus = self.nucleus_of(best)?;
            if let Some(token) = self.draw_from(nucleus, &mut allowed) {
                return Some(token);
            }
        }
        best.tokens.iter().map(|(_, token)| *token).find(|token| allowed(*token))
    }

    /// The nucleus, when it lies among the likeliest.
    fn nucleus_of(&self, best: &Best) -> Option<Vec<(f32, u32)>> {
        let max = best.tokens.first()?.0;
        let weighed = |(logit, token): &(f32, u32)| (((logit - max) / self.temperature).exp(), *token);
        let mut all: Vec<(f32, u32)> = best.tokens.iter().map(weighed).collect();
        let mut mass = 0.0;
        let cut = all.iter().position(|(p, _)| {
            mass += p;
            self.top_p < 1.0 && mass >= self.top_p * best.mass
        });
        match cut {
            Some(last) => all.truncate(last + 1),
            None if best.is_all => {}
            None => return None,
        }
        Some(all)
    }

    fn draw(&mut self, logits: &[f32], allowed: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        let nucleus = self.nucleus(logits);
        self.draw_from(nucleus, allowed)
    }

    fn draw_from(
        &mut self,
        mut nucleus: Vec<(f32, u32)>,
        allowed: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut mass: f32 = nucleus.iter().map(|(p, _)| p).sum();
        let mut strikes = 0;
        while !nucleus.is_empty() {
            let mut point = self.rng.random::<f32>() * mass;
            let at = nucleus.iter().position(|(p, _)| {
                point -= p;
                point < 0.0
            });
            let at = at.unwrap_or(nucleus.len() - 1);
            if allowed(nucleus[at].1) {
                return Some(nucleus[at].1);
            }
            nucleus.remove(at);
            strikes += 1;
            if strikes == STRIKES_MAX {
                nucleus.retain(|(_, token)| allowed(*token));
            }
            mass = nucleus.iter().map(|(p, _)| p).sum();
        }
        None
    }

    /// The smallest set of likeliest tokens that holds `top_p` of the mass, with weights; all
    /// tokens, unsorted, when that is the whole mass.
    fn nucleus(&self, logits: &[f32]) -> Vec<(f32, u32)> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let floor = max - LOGIT_RANGE * self.temperature;
        let mut all: Vec<(f32, u32)> = logits
            .iter()
            .enumerate()
            .filter(|(_, logit)| **logit >= floor)
            .map(|(id, logit)| (((logit - max) / self.temperature).exp(), id as u32))
            .collect();
        if self.top_p >= 1.0 {
            return all;
        }
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let wanted = self.top_p * all.iter().map(|(p, _)| p).sum::<f32>();
        let mut head = BEST_FIRST.min(all.len());
        loop {
            // Mostly a few tokens hold the mass, and the rest need not be sorted.
            if head < all.len() {
                all.select_nth_unstable_by(head, order);
            }
            all[..head].sort_unstable_by(order);
            let mut mass = 0.0;
            let cut = all[..head].iter().position(|(p, _)| {
                mass += p;
                mass >= wanted
            });
            if cut.is_some() || head == all.len() {
                all.truncate(cut.map_or(all.len(), |last| last + 1));
                return all;
            }
            head = (head * 8).min(all.len());
        }
    }
}

/// The allowed token with the highest logit; the lower id on a tie.
fn best(logits: &[f32], mut allowed: impl FnMut(u32) -> bool) -> Option<u32> {
    let value = |id: u32| {
        let logit = logits[id as usize];
        if logit.is_nan() { f32::NEG_INFINITY } else { logit }
    };
    let order = |a: &u32, b: &u32| value(*b).total_cmp(&value(*a)).then(a.cmp(b));
    let top = (0..logits.len() as u32).min_by(order)?;
    if allowed(top) {
        return Some(top);
    }
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    if ids.len() > BEST_FIRST {
        ids.select_nth_unstable_by(BEST_FIRST, order);
    }
    let first = ids.len().min(BEST_FIRST);
    ids[..first].sort_unstable_by(order);
    if let Some(id) = ids[..first].iter().copied().find(|id| allowed(*id)) {
        return Some(id);
    }
    ids[first..].sort_unstable_by(order);
    ids[first..].iter().copied().find(|id| allowed(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(&Sampling { max_tokens: 1, temperature, top_p, seed })
    }

    fn logits(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.7).sin() * 3.0).collect()
    }

    #[test]
    fn greedy_takes_the_best_allowed() {
        let logits = logits(1000);
        let mut order: Vec<u32> = (0..1000).collect();
        order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
        for rank in [0, 1, 127, 128, 900] {
            let banned = &order[..rank];
            let token = sampler(0.0, 1.0, 0).choose(&logits, |id| !banned.contains(&id));
            assert_eq!(token, Some(order[rank]));
        }
        assert_eq!(sampler(0.8, 0.9, 0).choose(&logits, |_| false), None);
        assert_eq!(sampler(0.0, 1.0, 0).choose(&[f32::NAN, 1.0], |_| true), Some(1));
    }

    /// Drawn over and over from what is allowed, each has its share, whether few or nearly all others are refused.
    #[test]
    fn what_is_allowed_keeps_its_share_however_much_is_refused() {
        for (size, is_allowed) in [(20_u32, 10_u32), (20_000, 3)] {
            let logits: Vec<f32> = (0..size).map(|id| if id < 3 { id as f32 } else { 1.0 }).collect();
            let mut counts = [0_u32; 3];
            for seed in 0..3_000 {
                let mut tested = 0;
                let token = sampler(1.0, 1.0, seed).choose(&logits, |id| {
                    tested += 1;
                    id < 3 || (size < 100 && id < is_allowed)
                });
                if let Some(count) = counts.get_mut(token.unwrap() as usize) {
                    *count += 1;
                }
                assert!(tested <= size as usize + STRIKES_MAX, "{tested} tests");
            }
            // e^0 : e^1 : e^2
            let [a, b, c] = counts.map(f64::from);
            assert!((b / a - 1.0_f64.exp()).abs() < 0.6 && (c / b - 1.0_f64.exp()).abs() < 0.6, "{counts:?}");
        }
    }

    fn best_of(logits: &[f32], count: usize, temperature: f32) -> Best {
        let mut tokens: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
        tokens.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mass = tokens.iter().map(|(logit, _)| ((logit - tokens[0].0) / temperature).exp()).sum();
        tokens.truncate(count);
        Best { is_all: count >= logits.len(), mass, tokens }
    }

    /// What the likeliest decide is what all of them decide, draw by draw.
    #[test]
    fn the_likeliest_decide_as_all_do_or_not_at_all() {
        let logits = logits(1000);
        let few = best_of(&logits, 128, 0.2);
        let mut decided = 0;
        for (temperature, top_p) in [(0.0, 1.0), (0.2, 0.5), (0.2, 0.2), (0.2, 0.99), (0.2, 1.0)] {
            for seed in 0..20 {
                let allowed = |id: u32| id % 3 != u32::from(seed % 2 == 0);
                let by_all = sampler(temperature, top_p, seed).choose(&logits, allowed);
                let by_few = sampler(temperature, top_p, seed).choose_best(&few, allowed);
                decided += usize::from(by_few.is_some());
                assert!(by_few.is_none() || by_few == by_all, "{temperature} {top_p} {seed}");
            }
        }
        assert_eq!(decided, 60, "a nucleus beyond the likeliest decides nothing");
        // Nobody among them is allowed; others may be.
        assert_eq!(sampler(0.0, 1.0, 0).choose_best(&few, |_| false), None);
        let all = best_of(&logits[..20], 128, 0.2);
        assert!(all.is_all && sampler(0.2, 1.0, 0).choose_best(&all, |_| true).is_some());
    }

    #[test]
    fn seeds_reproduce_and_differ() {
        let logits = logits(50);
        let run = |seed| {
            let mut sampler = sampler(1.0, 0.95, seed);
            (0..20).map(|_| sampler.choose(&logits, |_| true).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn frequencies_follow_the_distribution_and_the_nucleus() {
        // Probabilities 0.6, 0.3, 0.1: a nucleus of 0.8 holds the first two.
        let logits = [0.6_f32.ln(), 0.3_f32.ln(), 0.1_f32.ln()];
        let mut counts = [0; 3];
        let mut sampler = sampler(1.0, 0.8, 3);
        for _ in 0..3000 {
            counts[sampler.choose(&logits, |_| true).unwrap() as usize] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!((1850..2150).contains(&counts[0]), "{counts:?}");
    }
}
