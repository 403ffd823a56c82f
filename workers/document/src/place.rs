//! A place in the tree, built while walking and written out only when something is wrong there.

use std::fmt;

use crate::{DocumentError, Problem};

/// One step of a path; the steps above it stay on the stack of the walk.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    /// The first step.
    pub(crate) fn root(name: &'a str) -> Self {
        Self { above: None, step: Step::Field(name) }
    }

    /// A named field below this place.
    pub(crate) fn field(&'a self, name: &'a str) -> Self {
        Self { above: Some(self), step: Step::Field(name) }
    }

    /// An element below this place.
    pub(crate) fn index(&'a self, index: usize) -> Self {
        Self { above: Some(self), step: Step::Index(index) }
    }

    /// A problem here.
    pub(crate) fn error(&self, problem: Problem) -> DocumentError {
        DocumentError { path: self.to_string(), problem }
    }

    /// Refuses more than `max`.
    pub(crate) fn limit(&self, name: &'static str, max: usize, found: usize) -> Result<(), DocumentError> {
        if found > max { Err(self.error(Problem::Limit { name, max, found })) } else { Ok(()) }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}/")?;
        }
        match self.step {
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "{index}"),
        }
    }
}
