//! Exit codes of a program: one list makes the enum, its documentation, and what `--help` and the man page
//! say of each code.

/// Defines an enum of exit codes. The documentation of a variant is its text in the help: there it begins
/// with a small letter and ends without a full stop.
macro_rules! exits {
    (
        $(#[doc = $title:literal])+
        pub enum $name:ident {
            $($(#[doc = $text:literal])+ $variant:ident = $code:literal,)+
        }
    ) => {
        $(#[doc = $title])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name {
            $($(#[doc = $text])+ $variant = $code,)+
        }

        impl $name {
            /// The number, as the process ends with it.
            pub fn code(self) -> u8 {
                match self {
                    $($name::$variant => $code,)+
                }
            }

            /// All codes with their meaning, a line each, for `--help`.
            pub fn help() -> String {
                $crate::exits::help(&[$(($code, &[$($text),+]),)+])
            }
        }

        impl From<$name> for std::process::ExitCode {
            fn from(exit: $name) -> Self {
                exit.code().into()
            }
        }
    };
}

pub(crate) use exits;

/// Codes with the lines of their documentation, as a list under a heading.
pub(crate) fn help(codes: &[(u8, &[&str])]) -> String {
    let mut text = "Exit codes:".to_owned();
    for (code, lines) in codes {
        let lines = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n       ");
        let line = lines.trim_end_matches('.');
        let mut letters = line.chars();
        let first = letters.next().map(|first| match letters.as_str().starts_with(char::is_uppercase) {
            // A word in capitals.
            true => first.to_string(),
            false => first.to_lowercase().to_string(),
        });
        text.push_str(&format!("\n  {code:<5}{}{}", first.unwrap_or_default(), letters.as_str()));
    }
    text
}

#[cfg(test)]
mod tests {
    exits! {
        /// How it ended.
        pub enum Exit {
            /// The rows were stored.
            Done = 0,
            /// PATH was wrong, or
            /// something else.
            Wrong = 130,
        }
    }

    #[test]
    fn documentation_becomes_help() {
        assert_eq!(
            Exit::help(),
            "Exit codes:\n  0    the rows were stored\n  130  PATH was wrong, or\n       something else"
        );
        assert_eq!((Exit::Done.code(), Exit::Wrong.code()), (0, 130));
    }
}
