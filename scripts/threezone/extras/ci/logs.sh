kubectl --namespace "$NAMESPACE" get deployments,replicasets,pods --output wide || true
kubectl --namespace "$NAMESPACE" get events --sort-by .lastTimestamp || true
for pod in $(kubectl --namespace "$NAMESPACE" get pods --output name); do
  kubectl --namespace "$NAMESPACE" logs "$pod" --all-containers --prefix --tail 200 || true
done
kubectl --namespace "${KUSTOMIZATION%/*}" get gitrepositories,kustomizations || true
