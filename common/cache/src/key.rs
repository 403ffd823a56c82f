//! The key of a cached text: a hash of everything the text depends on, and of whose it is.
//!
//! Invariant: a key cannot be made without saying whose text it is, and no key of one tenant equals a key of
//! another or a public one. Callers fill in [`KeyParts`], whose fields have no defaults, so that the compiler
//! refuses a key with a part forgotten; there is no other way to make a [`Key`].

use std::fmt;

/// What a text is looked up by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The hash.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash in 64 hexadecimal digits: the name of its file and the end of its name in Redis.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// Reads the name of a file back.
    pub(crate) fn from_hex(name: &str) -> Option<Self> {
        let is_lower = name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        blake3::Hash::from_hex(name).ok().filter(|_| is_lower).map(|hash| Self(*hash.as_bytes()))
    }

    /// The first eight bytes as a number, for spreading keys evenly.
    pub(crate) fn spread(&self) -> u64 {
        self.0.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }
}

impl fmt::Debug for Key {
    /// A few digits are enough to follow one key through a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}…)", &self.hex()[..8])
    }
}

/// Why a text has no key, and so is not cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Two remote models without a fingerprint would answer for each other.
    #[error("the model has no fingerprint")]
    NoFingerprint,
    /// An empty tenant would be shared by all callers that forgot theirs.
    #[error("the tenant is empty")]
    NoTenant,
    /// A message with a tenant's data stands in a text that is to be public.
    #[error("a public text has a message of a tenant")]
    PrivateMessage,
}

/// Which model wrote the text, down to its last bit.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprint<'a> {
    model: &'a str,
    revision: &'a str,
}

impl<'a> Fingerprint<'a> {
    /// `model` is the hash of weights and vocabulary; `revision` all else that changes texts: the precision of
    /// keys and values, the form of the chat, the program's own version.
    ///
    /// # Errors
    /// When either is empty: such texts cannot be told apart and are not cached.
    pub fn new(model: &'a str, revision: &'a str) -> Result<Self, KeyError> {
        if model.is_empty() || revision.is_empty() {
            return Err(KeyError::NoFingerprint);
        }
        Ok(Self { model, revision })
    }
}

/// Who may be given the text.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// Only this tenant.
    Tenant(&'a str),
    /// Everybody: not one of the messages holds a tenant's data.
    Public,
}

/// One message of the prompt.
#[derive(Debug, Clone, Copy)]
pub struct MessagePart<'a> {
    /// Its speaker.
    pub role: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Whether it holds a tenant's data.
    pub is_private: bool,
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy)]
pub struct SamplingPart {
    /// Limit on tokens.
    pub tokens_max: u64,
    /// 0 is greedy; then `top_p` and `seed` change nothing and do not enter the key.
    pub temperature: f32,
    /// Nucleus mass.
    pub top_p: f32,
    /// Seed.
    pub seed: u64,
}

/// What the text was held to.
#[derive(Debug, Clone, Copy)]
pub struct ConstraintPart<'a> {
    /// Kind of constraint, for example `prose`.
    pub kind: &'a str,
    /// Its words, for example the names that may stand in brackets.
    pub words: &'a [String],
    /// Its number, for example of sentences.
    pub count: u64,
}

/// Everything a text depends on. No field has a default: each must be named.
#[derive(Debug, Clone, Copy)]
pub struct KeyParts<'a> {
    /// The model.
    pub model: Fingerprint<'a>,
    /// Whose text it is.
    pub owner: Owner<'a>,
    /// The prompt.
    pub messages: &'a [MessagePart<'a>],
    /// How tokens are chosen.
    pub sampling: SamplingPart,
    /// Words that end the text.
    pub stop: &'a [String],
    /// What it is held to.
    pub constraint: Option<ConstraintPart<'a>>,
}

/// Enters the hash before all else; a change of the form below needs another.
const DOMAIN: &str = "bul-cache 2026-01 key of a finished text, form 1";

impl KeyParts<'_> {
    /// The key.
    ///
    /// # Errors
    /// When the text must not be cached: a tenant without a name, or a tenant's data in a public text.
    pub fn key(&self) -> Result<Key, KeyError> {
        let mut hash = Hash(blake3::Hasher::new_derive_key(DOMAIN));
        match self.owner {
            Owner::Tenant("") => return Err(KeyError::NoTenant),
            Owner::Tenant(tenant) => {
                hash.number(1);
                hash.text(tenant);
            }
            Owner::Public if self.messages.iter().any(|m| m.is_private) => {
                return Err(KeyError::PrivateMessage);
            }
            Owner::Public => hash.number(0),
        }
        hash.text(self.model.model);
        hash.text(self.model.revision);
        hash.number(self.messages.len() as u64);
        for message in self.messages {
            hash.text(message.role);
            hash.text(message.text);
        }
        hash.sampling(&self.sampling);
        hash.texts(self.stop);
        match &self.constraint {
            None => hash.number(0),
            Some(constraint) => {
                hash.number(1);
                hash.text(constraint.kind);
                hash.texts(constraint.words);
                hash.number(constraint.count);
            }
        }
        Ok(Key(*hash.0.finalize().as_bytes()))
    }
}

/// Writes parts with their lengths, so that no two lists of parts give the same bytes.
struct Hash(blake3::Hasher);

impl Hash {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        self.number(texts.len() as u64);
        texts.iter().for_each(|text| self.text(text));
    }

    fn sampling(&mut self, sampling: &SamplingPart) {
        self.number(sampling.tokens_max);
        // Both zeros are equal here, as they are to the sampler.
        if sampling.temperature == 0.0 {
            self.number(0);
            return;
        }
        self.number(1);
        self.number(u64::from(sampling.temperature.to_bits()));
        self.number(u64::from(sampling.top_p.to_bits()));
        self.number(sampling.seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGES: &[MessagePart<'_>] = &[
        MessagePart { role: "system", text: "Write.", is_private: false },
        MessagePart { role: "user", text: "Invoice 7", is_private: true },
    ];

    fn parts<'a>() -> KeyParts<'a> {
        KeyParts {
            model: Fingerprint { model: "abc", revision: "f32" },
            owner: Owner::Tenant("acme"),
            messages: MESSAGES,
            sampling: SamplingPart { tokens_max: 64, temperature: 0.7, top_p: 0.9, seed: 1 },
            stop: &[],
            constraint: None,
        }
    }

    #[test]
    fn every_part_changes_the_key() {
        let words = ["a".to_owned(), "b".to_owned()];
        let joined = ["ab".to_owned()];
        let moved = [
            MessagePart { role: "system", text: "Write.I", is_private: false },
            MessagePart { role: "user", text: "nvoice 7", is_private: true },
        ];
        let p = parts();
        let sampling = p.sampling;
        let constraint = |kind, words, count| Some(ConstraintPart { kind, words, count });
        let all = [
            p,
            KeyParts { model: Fingerprint { model: "abd", ..p.model }, ..p },
            KeyParts { model: Fingerprint { revision: "f16", ..p.model }, ..p },
            KeyParts { model: Fingerprint { model: "ab", revision: "cf32" }, ..p },
            KeyParts { owner: Owner::Tenant("acm"), ..p },
            KeyParts { owner: Owner::Tenant("acme "), ..p },
            KeyParts { messages: &MESSAGES[..1], ..p },
            KeyParts { owner: Owner::Public, messages: &MESSAGES[..1], ..p },
            KeyParts { messages: &moved, ..p },
            KeyParts { sampling: SamplingPart { tokens_max: 65, ..sampling }, ..p },
            KeyParts { sampling: SamplingPart { temperature: 0.8, ..sampling }, ..p },
            KeyParts { sampling: SamplingPart { top_p: 0.8, ..sampling }, ..p },
            KeyParts { sampling: SamplingPart { seed: 2, ..sampling }, ..p },
            KeyParts { sampling: SamplingPart { temperature: 0.0, ..sampling }, ..p },
            KeyParts { stop: &words, ..p },
            KeyParts { stop: &joined, ..p },
            KeyParts { constraint: constraint("prose", &words, 3), ..p },
            KeyParts { constraint: constraint("prose", &joined, 3), ..p },
            KeyParts { constraint: constraint("prose", &words, 4), ..p },
            KeyParts { constraint: constraint("outline", &words, 3), ..p },
        ];
        let mut keys: Vec<Key> = all.iter().map(|p| p.key().unwrap()).collect();
        assert_eq!(keys[0], parts().key().unwrap(), "the same parts give the same key");
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all.len());
    }

    #[test]
    fn greedy_texts_do_not_depend_on_the_seed() {
        let greedy = |temperature, top_p, seed| {
            let sampling = SamplingPart { tokens_max: 64, temperature, top_p, seed };
            KeyParts { sampling, ..parts() }.key().unwrap()
        };
        assert_eq!(greedy(0.0, 0.9, 1), greedy(-0.0, 0.5, 2));
    }

    #[test]
    fn what_cannot_be_told_apart_has_no_key() {
        assert_eq!(Fingerprint::new("", "f32").err(), Some(KeyError::NoFingerprint));
        assert_eq!(Fingerprint::new("abc", "").err(), Some(KeyError::NoFingerprint));
        assert_eq!(KeyParts { owner: Owner::Tenant(""), ..parts() }.key(), Err(KeyError::NoTenant));
        assert_eq!(KeyParts { owner: Owner::Public, ..parts() }.key(), Err(KeyError::PrivateMessage));
    }

    #[test]
    fn a_key_survives_its_name() {
        let key = parts().key().unwrap();
        assert_eq!(Key::from_hex(&key.hex()), Some(key));
        for name in ["", "zz", &key.hex()[1..], &key.hex().to_uppercase(), &format!("{}0", key.hex())] {
            assert_eq!(Key::from_hex(name), None, "{name:?}");
        }
        assert_eq!(format!("{key:?}").chars().count(), 14);
    }

    proptest! {
        #[test]
        fn tenants_never_share_a_key(a in ".{1,12}", b in ".{1,12}", model in ".{1,6}", revision in ".{1,6}") {
            let key = |tenant| {
                let model = Fingerprint { model: &model, revision: &revision };
                KeyParts { owner: Owner::Tenant(tenant), model, ..parts() }.key().unwrap()
            };
            prop_assert_eq!(key(a.as_str()) == key(b.as_str()), a == b);
        }
    }
}
