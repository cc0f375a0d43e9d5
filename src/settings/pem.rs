//! Certificates and keys in PEM, given as text or as a file. A file is read once, with the settings, so
//! that its faults are reported with the other ones.

use std::fmt;
use std::path::{Path, PathBuf};

use super::fault::Problem;
use super::secret::{self, Secret};
use super::value::Raw;

/// The longest file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// A text in PEM and the file that it comes from, if any.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    file: Option<PathBuf>,
    text: Secret,
}

impl Pem {
    /// The text itself.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// The setting that it comes from: `file` or `text`.
    pub(super) fn key(&self, file: &'static str, text: &'static str) -> &'static str {
        if self.file.is_some() { file } else { text }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pem").field(&self.file).finish()
    }
}

/// Reads the file that is named.
pub(super) fn file(raw: &Raw) -> Result<Pem, Problem> {
    let path = Path::new(raw.text()?);
    let read = std::fs::metadata(path).and_then(|file| {
        if file.len() > MAX_BYTES {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        std::fs::read_to_string(path)
    });
    match read {
        Ok(text) => Ok(Pem {
            file: Some(path.to_owned()),
            text: Secret::new(text),
        }),
        Err(error) => Err(Problem::new(
            format!("cannot read {}: {error}", path.display()),
            "give the path of a readable file in PEM",
        )),
    }
}

/// Takes the text itself.
pub(super) fn text(raw: &Raw) -> Result<Pem, Problem> {
    Ok(Pem {
        file: None,
        text: Secret::new(raw.text()?),
    })
}

/// The file, if it comes from one.
pub(super) fn path(pem: Option<&Pem>) -> String {
    let file = pem.and_then(|pem| pem.file.as_ref());
    file.map_or_else(String::new, |file| file.display().to_string())
}

/// A mask, if it does not come from a file.
pub(super) fn mask(pem: Option<&Pem>) -> String {
    secret::mask_option(pem.filter(|pem| pem.file.is_none()).map(|pem| &pem.text))
}
