//! What the queue knows of the future: how often each prefix will be asked for.
//!
//! Called by whoever sees the queue, through `Generate::announce`; used by the policy `planned` and to bring blocks
//! ahead of need.

use std::collections::HashMap;

use crate::chat::Chat;
use crate::job::Message;
use crate::kv::key::{BlockKey, chain};
use crate::prefetch::{Chain, Outlook};
use crate::vocabulary::Vocabulary;

/// Keys of one forecast; prefixes beyond are left out. About 40 MB.
const KEYS_MAX: usize = 1 << 19;

/// Prefixes whose keys are remembered; when there are more, all are made anew.
const KNOWN_MAX: usize = 4096;

/// Requests that wait for their turn, by the beginning that they share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Prefixes, the most needed first.
    pub prefixes: Vec<ExpectedPrefix>,
}

/// One beginning of prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedPrefix {
    /// Tenant of the requests; of no effect for public messages.
    pub tenant: String,
    /// The messages that they begin with.
    pub messages: Vec<Message>,
    /// How many requests will begin like this, or their [`need`].
    pub times: u32,
}

/// What a request of a job in hand counts, against all requests of jobs that wait.
const NEAR: u32 = 16;

/// How much a prefix is needed of which jobs in hand will make so many requests, and waiting jobs so many: what comes next is
/// worth more than all that comes later, which only decides among equals. A thousand jobs that wait are about as many of each
/// template, and counted alike they would hide which of these is next.
pub fn need(in_hand: u32, waiting: u32) -> u32 {
    let later = (u32::BITS - waiting.leading_zeros()).min(NEAR - 1);
    in_hand.saturating_mul(NEAR).saturating_add(later)
}

/// Keys of prefixes that were announced before: forecasts come several times a second and repeat themselves, and to make tokens
/// of hundreds of prefixes each time would take a good part of a core.
#[derive(Debug, Default)]
pub(crate) struct Known {
    prefixes: HashMap<(String, Vec<Message>), Keys>,
    keys: usize,
}

/// Keys of a prefix, and how many of them hold no tenant's text; nothing for one that cannot be turned into tokens.
type Keys = Option<(Vec<BlockKey>, usize)>;

impl Known {
    fn get(&mut self, expected: &ExpectedPrefix, make: impl FnOnce() -> Keys) -> &Keys {
        if self.keys > KEYS_MAX || self.prefixes.len() >= KNOWN_MAX {
            *self = Self::default();
        }
        let name = (expected.tenant.clone(), expected.messages.clone());
        self.prefixes.entry(name).or_insert_with(|| {
            let keys = make();
            self.keys += keys.as_ref().map_or(0, |(keys, _)| keys.len());
            keys
        })
    }
}

/// Which keys will be needed, and how often.
///
/// A prefix that cannot be turned into tokens is left out: a forecast is advice, no order.
pub(crate) fn outlook(
    forecast: &Forecast,
    chat: &Chat,
    vocabulary: &Vocabulary,
    root: BlockKey,
    block_tokens: usize,
    known: &mut Known,
) -> Outlook {
    let mut outlook = Outlook::default();
    for expected in &forecast.prefixes {
        let make = || {
            let prefix = chat.prefix(&expected.messages, vocabulary).ok()?;
            let keys = chain(root, block_tokens, &prefix.tokens, prefix.public_tokens, &expected.tenant);
            Some((keys, prefix.public_tokens / block_tokens))
        };
        let Some((keys, public)) = known.get(expected, make).clone() else { continue };
        if outlook.needs.len() + keys.len() > KEYS_MAX {
            tracing::warn!(prefixes = forecast.prefixes.len(), "a forecast is too long; its end is left out");
            break;
        }
        for key in &keys {
            let need = outlook.needs.entry(*key).or_default();
            *need = need.saturating_add(expected.times);
        }
        outlook.chains.push(Chain { tenant: expected.tenant.clone(), keys, public, times: expected.times });
    }
    outlook
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Role, Scope};
    use crate::testing;

    #[test]
    fn what_waits_decides_among_equals_only() {
        assert_eq!(need(0, 0), 0);
        assert!(need(0, 1) > 0 && need(0, 900) > need(0, 100));
        assert!(need(1, 0) > need(0, u32::MAX) && need(2, 0) > need(1, u32::MAX) && need(2, 3) > need(2, 0));
        assert_eq!(need(u32::MAX, u32::MAX), u32::MAX);
    }

    #[test]
    fn a_forecast_names_the_keys_that_prompts_will_have() {
        let vocabulary = testing::vocabulary();
        let chat = Chat::new(testing::TEMPLATE, String::new(), String::new()).unwrap();
        let root = BlockKey::root("m", "f32", 4);
        let request = testing::request("some data of a customer");
        let prompt = chat.prompt(&request.messages, &vocabulary).unwrap();
        let keys = chain(root, 4, &prompt.tokens, prompt.public_tokens, &request.tenant);
        let expected = |messages: &[Message], times| ExpectedPrefix {
            tenant: request.tenant.clone(),
            messages: messages.to_vec(),
            times,
        };
        let other = Message { role: Role::System, text: "Another template.".into(), scope: Scope::Public };
        let forecast = Forecast {
            prefixes: vec![
                expected(&request.messages[..1], 3),
                expected(&request.messages, 2),
                expected(&[other], 9),
            ],
        };
        let mut known = Known::default();
        let mut told = || outlook(&forecast, &chat, &vocabulary, root, 4, &mut known);
        let (first, outlook) = (told(), told());
        assert_eq!(first.needs, outlook.needs, "what is known is what was made");
        assert_eq!((known.prefixes.len(), known.keys), (3, first.chains.iter().map(|c| c.keys.len()).sum()));
        let needs = outlook.needs;
        assert_eq!(outlook.chains[1].keys, keys);
        assert_eq!((outlook.chains[1].public, outlook.chains[1].times), (prompt.public_tokens / 4, 2));
        let public = prompt.public_tokens / 4;
        // The last literal before the customer's text may be part of it; one block of slack.
        assert!(keys[..public - 1].iter().all(|key| needs.get(key) == Some(&5)));
        assert_eq!(needs.get(&keys[public + 1]), Some(&2));
        assert!(needs.values().any(|need| *need == 9));
    }
}
