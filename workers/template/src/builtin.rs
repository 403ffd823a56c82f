//! The templates that come with the program, embedded at build time.

use std::path::PathBuf;

use crate::package::Sources;

macro_rules! package {
    ($name:literal, bodies: [$($language:literal => $body:literal),*], samples: [$($sample:literal),*]) => {
        Sources {
            path: PathBuf::from(concat!("builtin/", $name)),
            manifest: include_str!(concat!("../templates/", $name, "/template.toml")).to_owned(),
            schema: Some(include_str!(concat!("../templates/", $name, "/schema.json")).to_owned()),
            bodies: vec![$((
                $language.to_owned(),
                include_str!(concat!("../templates/", $name, "/", $body)).to_owned(),
            )),*],
            samples: vec![$((
                $sample.to_owned(),
                include_str!(concat!("../templates/", $name, "/samples/", $sample)).to_owned(),
            )),*],
        }
    };
}

/// Files of every built-in template.
pub(crate) fn packages() -> Vec<Sources> {
    vec![
        package!("contract", bodies: ["" => "body.md", "de" => "body.de.md"],
            samples: ["full.json", "minimal.json"]),
        package!("document", bodies: ["" => "body.md"], samples: ["facts.json", "sections.json"]),
        package!("incident-report", bodies: ["" => "body.md"],
            samples: ["detected.json", "issue.json", "resolved.json", "rollback.json"]),
        package!("invoice", bodies: ["" => "body.md"],
            samples: ["credit-note.json", "full.json", "minimal.json"]),
        package!("release-notes", bodies: ["" => "body.md"],
            samples: ["build.json", "deployment.json", "push.json", "release.json"]),
        package!("weekly-report", bodies: ["" => "body.md"], samples: ["revenue.json"]),
    ]
}
