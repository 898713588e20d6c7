//! How single values refuse what is out of range: one error type and the macros that build the newtypes.

use std::borrow::Cow;

/// A value that is not allowed: which field or type, what was found, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: found `{found}`, allowed: {allowed}")]
pub struct ValueError {
    /// The kind of value, in words (`VLAN id`).
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: Cow<'static, str>,
}

impl ValueError {
    pub fn new(what: &'static str, found: impl ToString, allowed: impl Into<Cow<'static, str>>) -> Self {
        ValueError { what, found: found.to_string(), allowed: allowed.into() }
    }
}

/// Serde and JSON Schema for a type whose one outside form is a string (`Display` and `FromStr`).
macro_rules! string_form {
    ($type:ty, $schema:literal, $description:literal, $pattern:expr) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Form;
                impl ::serde::de::Visitor<'_> for Form {
                    type Value = $type;
                    fn expecting(&self, f: &mut ::std::fmt::Formatter) -> ::std::fmt::Result {
                        f.write_str($description)
                    }
                    fn visit_str<E: ::serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                d.deserialize_str(Form)
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                $schema.into()
            }
            fn schema_id() -> ::std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", $schema).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({
                    "type": "string",
                    "description": $description,
                    "pattern": $pattern,
                })
            }
        }
    };
}
pub(crate) use string_form;

/// A number with a range: construction, conversions, `Display`, serde and JSON Schema.
macro_rules! ranged_number {
    ($(#[$doc:meta])* $type:ident, $inner:ty, $range:expr, $what:literal, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type($inner);

        impl $type {
            /// The lowest allowed value.
            pub const MIN: $type = $type(*$range.start());
            /// The highest allowed value.
            pub const MAX: $type = $type(*$range.end());

            /// Refuses what is out of range.
            pub fn new(value: $inner) -> Result<Self, $crate::value::ValueError> {
                if ($range).contains(&value) {
                    Ok($type(value))
                } else {
                    Err($crate::value::ValueError::new($what, value, $allowed))
                }
            }

            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<u64> for $type {
            type Error = $crate::value::ValueError;
            fn try_from(value: u64) -> Result<Self, Self::Error> {
                match <$inner>::try_from(value) {
                    Ok(v) => $type::new(v),
                    Err(_) => Err($crate::value::ValueError::new($what, value, $allowed)),
                }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ::std::str::FromStr for $type {
            type Err = $crate::value::ValueError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text.parse::<$inner>() {
                    Ok(v) if text.as_bytes()[0].is_ascii_digit() => $type::new(v),
                    _ => Err($crate::value::ValueError::new($what, text, $allowed)),
                }
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                ::serde::Serialize::serialize(&self.0, s)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Form;
                impl ::serde::de::Visitor<'_> for Form {
                    type Value = $type;
                    fn expecting(&self, f: &mut ::std::fmt::Formatter) -> ::std::fmt::Result {
                        write!(f, "{}: {}", $what, $allowed)
                    }
                    fn visit_u64<E: ::serde::de::Error>(self, v: u64) -> Result<$type, E> {
                        $type::try_from(v).map_err(E::custom)
                    }
                    fn visit_i64<E: ::serde::de::Error>(self, v: i64) -> Result<$type, E> {
                        match u64::try_from(v) {
                            Ok(v) => self.visit_u64(v),
                            Err(_) => Err(E::custom($crate::value::ValueError::new($what, v, $allowed))),
                        }
                    }
                }
                d.deserialize_u64(Form)
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn schema_id() -> ::std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($type)).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({
                    "type": "integer",
                    "description": concat!($what, ": ", $allowed),
                    "minimum": *$range.start(),
                    "maximum": *$range.end(),
                })
            }
        }
    };
}
pub(crate) use ranged_number;
