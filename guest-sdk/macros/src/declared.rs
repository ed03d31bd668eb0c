//! Finds `out.kafka("literal")` and its like in the body of a transform and checks the literal against the declared
//! targets. It looks at tokens, so it also sees into macros; names that are not literals are checked by the host.

use proc_macro2::{Delimiter, Group, Ident, Literal, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::{Error, FnArg, ItemFn, LitStr, Pat};

use crate::attribute::{Arguments, What};

/// The first literal that is not declared, as an error; else assertions about tables, whose names only the compiler knows.
pub(crate) fn check(arguments: &Arguments, function: &ItemFn) -> syn::Result<Vec<TokenStream>> {
    let Some(out) = outputs_name(function) else { return Ok(Vec::new()) };
    let mut search = Search { arguments, function, out, assertions: Vec::new() };
    let block = &function.block;
    search.tokens(quote::quote!(#block))?;
    Ok(search.assertions)
}

struct Search<'a> {
    arguments: &'a Arguments,
    function: &'a ItemFn,
    /// What the author calls the outputs.
    out: &'a syn::Ident,
    assertions: Vec<TokenStream>,
}

impl Search<'_> {
    fn tokens(&mut self, tokens: TokenStream) -> syn::Result<()> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for window in tokens.windows(4) {
            if let [TokenTree::Ident(out), TokenTree::Punct(dot), TokenTree::Ident(method), TokenTree::Group(call)] =
                window
                && out == self.out
                && dot.as_char() == '.'
                && call.delimiter() == Delimiter::Parenthesis
            {
                self.call(method, call)?;
            }
        }
        let groups = tokens.into_iter().filter_map(|token| match token {
            TokenTree::Group(group) => Some(group.stream()),
            _ => None,
        });
        groups.into_iter().try_for_each(|inner| self.tokens(inner))
    }

    fn call(&mut self, method: &Ident, call: &Group) -> syn::Result<()> {
        let method_name = method.to_string();
        let literal = sole_literal(call);
        match (method_name.as_str(), literal) {
            ("next", _) if !self.declares(|target| matches!(target.what, What::Next)) => {
                Err(Error::new(method.span(), "there is no following module: add `next` to #[transform(…)]"))
            }
            ("postgres", _) if !self.declares(|target| target.sink == "postgres") => {
                let text = "no table is declared: add `postgres = [YourRow]` to #[transform(…)]";
                Err(Error::new(method.span(), text))
            }
            ("kafka" | "mongodb", Some(literal)) => self.named(&method_name, &literal),
            ("postgres_at", Some(literal)) => {
                self.table(&literal);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn named(&self, default: &str, literal: &LitStr) -> syn::Result<()> {
        let text = literal.value();
        let (sink, name) = text.split_once(':').unwrap_or((default, &text));
        let covers = |declared: &str| match declared.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => declared == name,
        };
        let known = |what: &What| matches!(what, What::Named(declared) if covers(&declared.value()));
        if self.declares(|target| target.sink == sink && known(&target.what)) {
            return Ok(());
        }
        let text = format!("`{name}` is not declared: add it to `{sink} = [..]` in #[transform(…)]");
        Err(Error::new(literal.span(), text))
    }

    fn table(&mut self, literal: &LitStr) {
        let text = literal.value();
        let (sink, name) = text.split_once(':').unwrap_or(("postgres", &text));
        let message = format!("`{name}` is not declared: add its row type to `{sink} = [..]` in #[transform(…)]");
        let transform = &self.function.sig.ident;
        self.assertions.push(quote_spanned! {literal.span()=>
            const _: () = ::core::assert!(
                ::wasmill_sdk::__private::declares(<#transform as ::wasmill_sdk::Transform>::TARGETS, #sink, #name),
                #message
            );
        });
    }

    fn declares(&self, predicate: impl Fn(&crate::attribute::Target) -> bool) -> bool {
        self.arguments.targets.iter().any(predicate)
    }
}

fn outputs_name(function: &ItemFn) -> Option<&syn::Ident> {
    match function.sig.inputs.get(1)? {
        FnArg::Typed(argument) => match &*argument.pat {
            Pat::Ident(name) => Some(&name.ident),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    }
}

/// The literal where it is all that stands between the parentheses.
fn sole_literal(call: &Group) -> Option<LitStr> {
    let mut tokens = call.stream().into_iter();
    let literal: Literal = match tokens.next()? {
        TokenTree::Literal(literal) => literal,
        _ => return None,
    };
    tokens.next().is_none().then(|| syn::parse2(TokenTree::from(literal).into()).ok())?
}
