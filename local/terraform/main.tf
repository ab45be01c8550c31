# Terraform or OpenTofu in zone 1: it reads the kubeconfig that kubectl and flux read, and so takes the same proved way.
# tofu -chdir=local/terraform init && tofu -chdir=local/terraform apply
terraform {
  required_version = ">= 1.6"
  required_providers {
    kubectl = {
      source  = "gavinbunney/kubectl"
      version = "1.19.0"
    }
  }
}

variable "kubeconfig" {
  description = "The file that kubeconfig.connect has written"
  default     = "~/.kube/config"
}

variable "context" {
  description = "The cluster: kind-NAME, or any context of that file"
  default     = "kind-kind"
}

# No address, no CA, no key stands here: after a restart or in another zone, kubeconfig.connect mends the one entry.
provider "kubectl" {
  config_path    = pathexpand(var.kubeconfig)
  config_context = var.context
}

data "kubectl_server_version" "cluster" {}

locals {
  kubeconfig = yamldecode(file(pathexpand(var.kubeconfig)))
  entry      = one([for each in local.kubeconfig.contexts : each.context if each.name == var.context])
  cluster    = one([for each in local.kubeconfig.clusters : each.cluster if each.name == local.entry.cluster])
}

output "kubernetes" {
  description = "The version that the API server answers with"
  value       = data.kubectl_server_version.cluster.git_version
}

output "server" {
  description = "The way that was taken"
  value       = local.cluster.server
}

output "tls_server_name" {
  description = "The name that the certificate had to carry; empty: the server's own"
  value       = lookup(local.cluster, "tls-server-name", "")
}
