//! `Serialize` and `Deserialize` for crates that do not depend on serde themselves: serde's own derives name the crate
//! `serde`, which an author then had to list. The derive goes on a twin of the type (serde's `remote`), inside
//! the SDK's serde; the author's type forwards to it. Attributes mean what they mean to serde.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Field, GenericParam, LifetimeParam, parse_quote};

pub(crate) fn serialize(item: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let (twin, ident) = (twin(&input, &quote!(Serialize)), &input.ident);
    let name = format_ident!("__{ident}");
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(__serde::Serialize));
    }
    let (implementation, types, bounds) = generics.split_for_impl();
    let turbofish = types.as_turbofish();
    Ok(quote! {
        const _: () = {
            use ::wasmill_sdk::__private::serde as __serde;
            #twin
            #[automatically_derived]
            impl #implementation __serde::Serialize for #ident #types #bounds {
                fn serialize<__S: __serde::Serializer>(
                    &self,
                    serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    #name #turbofish::serialize(self, serializer)
                }
            }
        };
    })
}

pub(crate) fn deserialize(item: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let (twin, ident) = (twin(&input, &quote!(Deserialize)), &input.ident);
    let name = format_ident!("__{ident}");
    let types = input.generics.split_for_impl().1;
    let turbofish = types.as_turbofish();
    let mut generics = input.generics.clone();
    let mut life: LifetimeParam = parse_quote!('de);
    life.bounds.extend(input.generics.lifetimes().map(|parameter| parameter.lifetime.clone()));
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(__serde::Deserialize<'de>));
    }
    generics.params.insert(0, GenericParam::Lifetime(life));
    let (implementation, _, bounds) = generics.split_for_impl();
    Ok(quote! {
        const _: () = {
            use ::wasmill_sdk::__private::serde as __serde;
            #twin
            #[automatically_derived]
            impl #implementation __serde::Deserialize<'de> for #ident #types #bounds {
                fn deserialize<__D: __serde::Deserializer<'de>>(
                    deserializer: __D,
                ) -> ::core::result::Result<Self, __D::Error> {
                    #name #turbofish::deserialize(deserializer)
                }
            }
        };
    })
}

/// The type again under another name, with serde's attributes only.
fn twin(input: &DeriveInput, derive: &TokenStream) -> TokenStream {
    let mut twin = input.clone();
    let remote = input.ident.to_string();
    twin.ident = format_ident!("__{}", input.ident);
    keep_serde(&mut twin.attrs);
    match &mut twin.data {
        Data::Struct(data) => data.fields.iter_mut().for_each(strip),
        Data::Enum(data) => {
            for variant in &mut data.variants {
                keep_serde(&mut variant.attrs);
                variant.fields.iter_mut().for_each(strip);
            }
        }
        Data::Union(data) => data.fields.named.iter_mut().for_each(strip),
    }
    quote! {
        #[allow(dead_code, reason = "only its derive is used")]
        #[derive(__serde::#derive)]
        #[serde(crate = "__serde", remote = #remote)]
        #twin
    }
}

fn strip(field: &mut Field) {
    keep_serde(&mut field.attrs);
}

fn keep_serde(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| attribute.path().is_ident("serde") || attribute.path().is_ident("cfg"));
}
